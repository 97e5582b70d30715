"""Quantization block by block: as in pruning, a block's inputs come from the rounded blocks before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from atv.calibration.calibration_set import CalibrationBatch, whole_set
from atv.calibration.callbacks import BlockCallback, Drift
from atv.calibration.finished_blocks import FinishedBlocks
from atv.calibration.loop import BlockwiseCalibration
from atv.calibration.pool import Pool
from atv.calibration.samples import Sample
from atv.calibration.stopping import StopCalibration
from atv.criteria import PoolStatistics
from atv.model.batch import cast_floats
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded
from atv.quantization.base import Quantizer
from atv.quantization.feeding import Feed, feeds
from atv.quantization.method_contract import channel_scale, quantized
from atv.quantization.whole_numbers import Quantized, RoundingGrid
from atv.records.digests import tensors_digest
from atv.records.pruning_report import BOTH, BlockReport
from atv.records.run_folder import FinishedBlock, RunFolder
from atv.runtime.ranks import agree
from atv.runtime.trainer import running
from atv.selection import TokenSelection

WHOLE, SCALE, ERROR = "weight_whole", "weight_scale", "error"


@dataclass(frozen=True)
class QuantizationPlan:
    """What is quantized, and how: Linears, masks of the pruned ones, the grid of each, token selection and method."""

    targets: Mapping[str, nn.Linear]
    masks: Mapping[str, Tensor]
    grids: Mapping[str, RoundingGrid]
    method: Quantizer
    selection: TokenSelection
    seed: int = 0

    def mask(self, name: str) -> Tensor:
        """Returns the mask of a Linear, bool (out, in) on the weight's device, True = kept."""
        weight = self.targets[name].weight
        if name in self.masks:
            return self.masks[name].to(weight.device)
        return torch.ones_like(weight, dtype=torch.bool)


@dataclass
class QuantizedBlocks:
    """The quantized weights, the relative squared error of each Linear's outputs, and the modules that took scales.

    ``scaled`` maps the name of each module that took scales to the Linears that read its channels.
    """

    weights: dict[str, Quantized] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    scaled: dict[str, list[str]] = field(default_factory=dict)


def quantize_blocks(
    lvlm: LVLM,
    plan: QuantizationPlan,
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
    folder: RunFolder | None = None,
) -> QuantizedBlocks:
    """Quantizes in place; the model then computes with the products of integers and scales.

    Args:
        folder: folder of a run that may have started before; its finished blocks are reused. An offloaded model needs
            this folder and leaves its blocks there, as floats; the outcome then has no weights.

    Raises:
        ValueError: if activations are not finite, or the method needs scales but no module can take them.
    """
    if not is_offloaded(lvlm.model):
        lvlm.model.to(trainer.strategy.root_device)  # type: ignore[arg-type]
    found: list[list[Feed]] = [[] for _ in lvlm.blocks]
    if plan.method.scales_channels:
        first = cast_floats(batches[0].inputs or {}, lvlm.model.dtype, trainer.strategy.root_device)
        found = _takers(lvlm, plan, first)
    outcome = QuantizedBlocks(scaled={feed.feeder: list(feed.readers) for block in found for feed in block})
    collect = partial(_collect, outcome, not is_offloaded(lvlm.model))
    finished = FinishedBlocks(lvlm, partial(_install_block, lvlm), collect, folder, trainer.is_global_zero)
    earlier = finished.read_kept()
    finished.reinstall(earlier)
    whole = whole_set(lvlm, batches, [plan.selection])
    drift = Drift(whole)
    rounding = _Rounding(lvlm, plan, found, drift, finished.add)
    loop = BlockwiseCalibration(lvlm, plan.seed, [plan.selection], len(earlier), finished.offloaded, whole)
    with running(trainer, drift, rounding, StopCalibration(len(batches), kept=folder is not None)):
        loop.run(trainer, batches, plan.targets, propagate=True)
    return outcome


class _Rounding(BlockCallback):
    """Rounds a block's Linears once all samples have been observed at the block."""

    def __init__(
        self,
        lvlm: LVLM,
        plan: QuantizationPlan,
        found: Sequence[Sequence[Feed]],
        drift: Drift,
        finished: Callable[[FinishedBlock], None],
    ) -> None:
        self.lvlm, self.plan, self.found, self.drift, self.finished = lvlm, plan, found, drift, finished
        self._inside = lvlm.by_block(plan.targets)
        self._pool = Pool(plan.selection, plan.method.needs_gram)
        self._started = perf_counter()

    def observe(self, sample: Sample) -> None:
        self._pool.observe(sample)

    def finish(self, block: int) -> None:
        statistics = self.drift.statistics
        pool = self._pool.finish(statistics)
        if missing := self._inside[block].keys() - pool.statistics.keys():
            raise ValueError(f"targets: block {block} never calls {min(missing)}")
        changed: dict[str, Tensor] = {}
        known = dict(pool.statistics)
        for feed in self.found[block]:
            changed |= self._scaled(feed, known)
        for name in self._inside[block]:
            changed |= self._rounded(name, known[name])
        agree(tensors_digest([changed]), f"rounded weights of block {block}")
        tokens = {"text": statistics.text_tokens, "visual": statistics.visual_tokens}
        chosen = {BOTH: {"text": pool.text, "visual": pool.visual}}
        started, self._started = self._started, perf_counter()
        report = BlockReport(block, statistics.mean_drift, tokens, chosen, {}, self._started - started)
        self.finished(FinishedBlock(report, {}, changed))

    def _scaled(self, feed: Feed, known: dict[str, PoolStatistics]) -> dict[str, Tensor]:
        """Applies channel scales to the readers, the inverse to the module that feeds them, and updates ``known``."""
        plan, first = self.plan, feed.readers[0]
        weights = {name: plan.targets[name].weight.detach() for name in feed.readers}
        masks = {name: plan.mask(name) for name in feed.readers}
        scale = channel_scale(plan.method, weights, masks, known[first], plan.grids[first])
        changed = feed.scale(self.lvlm.model, scale)
        for name in feed.readers:
            known[name] = known[name].divided(scale)
        # Weights of target Linears are saved in rounded form; their biases, and everything in a norm, as they are.
        own = {f"{name}.weight" for name in plan.targets}
        return {name: self.lvlm.model.get_parameter(name).detach() for name in changed if name not in own}

    def _rounded(self, name: str, pool: PoolStatistics) -> dict[str, Tensor]:
        plan, weight = self.plan, self.plan.targets[name].weight.detach()
        mask = plan.mask(name)
        made = quantized(plan.method, weight, mask, pool, plan.grids[name], name)
        rounded = made.weight
        told = {}
        if pool.gram is not None:
            share = pool.share_lost(weight.masked_fill(~mask, 0).double(), rounded.double())
            told[f"{name}.{ERROR}"] = torch.tensor(share, dtype=torch.float64)
        return {f"{name}.{WHOLE}": made.whole, f"{name}.{SCALE}": made.scale, **told}


def rounded_weights(block: FinishedBlock) -> dict[str, Quantized]:
    """Returns the quantized weights of a finished block's Linears, on the CPU."""
    names = [key.removesuffix(f".{WHOLE}") for key in block.weights if key.endswith(f".{WHOLE}")]
    return {name: Quantized(*(block.weights[f"{name}.{part}"].cpu() for part in (WHOLE, SCALE))) for name in names}


def _collect(outcome: QuantizedBlocks, weights: bool, block: FinishedBlock) -> None:
    if weights:
        outcome.weights |= rounded_weights(block)
    for key, error in block.weights.items():
        if key.endswith(f".{ERROR}"):
            outcome.errors[key.removesuffix(f".{ERROR}")] = float(error)


def _takers(lvlm: LVLM, plan: QuantizationPlan, inputs: Mapping[str, Any]) -> list[list[Feed]]:
    """Returns, by block, the modules that can take the scales of the method.

    Raises:
        ValueError: if the model is offloaded, or nothing in it can take scales.
    """
    kind = type(plan.method).__name__
    if is_offloaded(lvlm.model):
        raise ValueError(
            f"method: {kind} tries scales in all blocks at once and does not support offloaded models; "
            "load the model without offloading"
        )
    found = feeds(lvlm, plan.targets, inputs)
    if not any(found):
        raise ValueError(f"method: nothing in {type(lvlm.model).__name__} can take the scales of {kind}")
    return found


def _install_block(lvlm: LVLM, block: FinishedBlock) -> None:
    """Copies the rounded weights and other changed tensors of a finished block into the model."""
    for name, made in rounded_weights(block).items():
        lvlm.linears[name].weight.data.copy_(made.weight)
    for name, values in block.weights.items():
        if name.rpartition(".")[2] not in (WHOLE, SCALE, ERROR):
            lvlm.model.get_parameter(name).data.copy_(values)
