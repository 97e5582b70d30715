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
    feeds_by_block: list[list[Feed]] = [[] for _ in lvlm.blocks]
    if plan.method.scales_channels:
        first_inputs = cast_floats(batches[0].inputs or {}, lvlm.model.dtype, trainer.strategy.root_device)
        feeds_by_block = _find_feeds(lvlm, plan, first_inputs)
    quantized_blocks = QuantizedBlocks(
        scaled={feed.feeder: list(feed.readers) for block in feeds_by_block for feed in block}
    )
    collect = partial(_collect, quantized_blocks, not is_offloaded(lvlm.model))
    finished = FinishedBlocks(lvlm, partial(_install_block, lvlm), collect, folder, trainer.is_global_zero)
    kept_blocks = finished.read_kept()
    finished.reinstall(kept_blocks)
    whole = whole_set(lvlm, batches, [plan.selection])
    drift = Drift(whole)
    rounding = _Rounding(lvlm, plan, feeds_by_block, drift, finished.add)
    loop = BlockwiseCalibration(lvlm, plan.seed, [plan.selection], len(kept_blocks), finished.offloaded, whole)
    with running(trainer, drift, rounding, StopCalibration(len(batches), kept=folder is not None)):
        loop.run(trainer, batches, plan.targets, propagate=True)
    return quantized_blocks


class _Rounding(BlockCallback):
    """Rounds a block's Linears once all samples have been observed at the block."""

    def __init__(
        self,
        lvlm: LVLM,
        plan: QuantizationPlan,
        feeds_by_block: Sequence[Sequence[Feed]],
        drift: Drift,
        finished: Callable[[FinishedBlock], None],
    ) -> None:
        self.lvlm, self.plan, self.feeds_by_block, self.drift, self.finished = (
            lvlm,
            plan,
            feeds_by_block,
            drift,
            finished,
        )
        self._targets_by_block = lvlm.by_block(plan.targets)
        self._pool = Pool(plan.selection, plan.method.needs_gram)
        self._started = perf_counter()

    def observe(self, sample: Sample) -> None:
        self._pool.observe(sample)

    def finish(self, block: int) -> None:
        statistics = self.drift.statistics
        pool = self._pool.finish(statistics)
        if missing := self._targets_by_block[block].keys() - pool.statistics.keys():
            raise ValueError(f"targets: block {block} never calls {min(missing)}")
        changed: dict[str, Tensor] = {}
        statistics_of = dict(pool.statistics)
        for feed in self.feeds_by_block[block]:
            changed |= self._scale_channels(feed, statistics_of)
        for name in self._targets_by_block[block]:
            changed |= self._round_linear(name, statistics_of[name])
        agree(tensors_digest([changed]), f"rounded weights of block {block}")
        tokens = {"text": statistics.text_tokens, "visual": statistics.visual_tokens}
        selected = {BOTH: {"text": pool.text, "visual": pool.visual}}
        start_time, self._started = self._started, perf_counter()
        report = BlockReport(block, statistics.mean_drift, tokens, selected, {}, self._started - start_time)
        self.finished(FinishedBlock(report, {}, changed))

    def _scale_channels(self, feed: Feed, statistics_of: dict[str, PoolStatistics]) -> dict[str, Tensor]:
        """Applies channel scales to the readers and their inverse to the feeder; updates the readers' statistics."""
        plan, first_reader = self.plan, feed.readers[0]
        weights = {name: plan.targets[name].weight.detach() for name in feed.readers}
        masks = {name: plan.mask(name) for name in feed.readers}
        scale = channel_scale(plan.method, weights, masks, statistics_of[first_reader], plan.grids[first_reader])
        changed_names = feed.scale(self.lvlm.model, scale)
        for name in feed.readers:
            statistics_of[name] = statistics_of[name].divided(scale)
        # Weights of target Linears are saved in rounded form; their biases, and everything in a norm, as they are.
        target_weights = {f"{name}.weight" for name in plan.targets}
        return {
            name: self.lvlm.model.get_parameter(name).detach() for name in changed_names if name not in target_weights
        }

    def _round_linear(self, name: str, pool: PoolStatistics) -> dict[str, Tensor]:
        plan, weight = self.plan, self.plan.targets[name].weight.detach()
        mask = plan.mask(name)
        result = quantized(plan.method, weight, mask, pool, plan.grids[name], name)
        rounded = result.weight
        error_entry = {}
        if pool.gram is not None:
            error_share = pool.share_lost(weight.masked_fill(~mask, 0).double(), rounded.double())
            error_entry[f"{name}.{ERROR}"] = torch.tensor(error_share, dtype=torch.float64)
        return {f"{name}.{WHOLE}": result.whole, f"{name}.{SCALE}": result.scale, **error_entry}


def rounded_weights(block: FinishedBlock) -> dict[str, Quantized]:
    """Returns the quantized weights of a finished block's Linears, on the CPU."""
    names = [key.removesuffix(f".{WHOLE}") for key in block.weights if key.endswith(f".{WHOLE}")]
    return {name: Quantized(*(block.weights[f"{name}.{suffix}"].cpu() for suffix in (WHOLE, SCALE))) for name in names}


def _collect(quantized_blocks: QuantizedBlocks, weights: bool, block: FinishedBlock) -> None:
    if weights:
        quantized_blocks.weights |= rounded_weights(block)
    for key, error in block.weights.items():
        if key.endswith(f".{ERROR}"):
            quantized_blocks.errors[key.removesuffix(f".{ERROR}")] = float(error)


def _find_feeds(lvlm: LVLM, plan: QuantizationPlan, inputs: Mapping[str, Any]) -> list[list[Feed]]:
    """Returns, by block, the modules that can take the scales of the method.

    Raises:
        ValueError: if the model is offloaded, or nothing in it can take scales.
    """
    class_name = type(plan.method).__name__
    if is_offloaded(lvlm.model):
        raise ValueError(
            f"method: {class_name} tries scales in all blocks at once and does not support offloaded models; "
            "load the model without offloading"
        )
    feeds_by_block = feeds(lvlm, plan.targets, inputs)
    if not any(feeds_by_block):
        raise ValueError(f"method: nothing in {type(lvlm.model).__name__} can take the scales of {class_name}")
    return feeds_by_block


def _install_block(lvlm: LVLM, block: FinishedBlock) -> None:
    """Copies the rounded weights and other changed tensors of a finished block into the model."""
    for name, quantized_weight in rounded_weights(block).items():
        lvlm.linears[name].weight.data.copy_(quantized_weight.weight)
    for name, values in block.weights.items():
        if name.rpartition(".")[2] not in (WHOLE, SCALE, ERROR):
            lvlm.model.get_parameter(name).data.copy_(values)
