"""What the prediction loop gathers of every block, and what it does when a block was seen by all samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import lightning as L
import torch
from torch import Tensor

from atv.calibration.fallback import warn_of_starved
from atv.calibration.inputs import LinearInputs
from atv.calibration.loop import BlockwiseCalibration, CalibrationBatch
from atv.calibration.pool import BlockPool, Pool
from atv.calibration.samples import Sample
from atv.calibration.sums import SampleSums
from atv.criteria import Criterion
from atv.fingerprint import tensors_digest
from atv.lvlm import LVLM
from atv.masks import PackedMasks
from atv.patterns import Pattern
from atv.ranks import agree, gathered
from atv.report import BlockReport
from atv.run_folder import FinishedBlock
from atv.selection import SetStatistics, TokenSelection
from atv.targets import Target


class BlockCallback(L.Callback, ABC):
    """Observes every sample at a block, then finishes the block."""

    @abstractmethod
    def observe(self, sample: Sample) -> None:
        """Called once a sample and block."""

    @abstractmethod
    def finish(self, block: int) -> None:
        """Called once a block, on every rank, when all its samples were observed."""

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: BlockwiseCalibration,  # type: ignore[override]
        outputs: Any,
        batch: CalibrationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for sample in outputs:
            self.observe(sample)
        if batch_idx + 1 == trainer.num_predict_batches[dataloader_idx]:
            self.finish(pl_module.first_block + dataloader_idx)


class Drift(BlockCallback):
    """The mean drift of all visual tokens of the calibration set, weighted by token (ATV-Pruning, step 3)."""

    def __init__(self) -> None:
        self.statistics: SetStatistics
        self._sums = SampleSums()

    def observe(self, sample: Sample) -> None:
        tokens = sample.tokens
        drift = tokens.drift[tokens.visual].double().sum()
        counts = [drift, tokens.visual.sum(), tokens.text.sum(), torch.ones_like(drift)]
        self._sums.add("counts", tokens.sample, torch.stack([count.double() for count in counts]))

    def finish(self, block: int) -> None:
        totals, self._sums = self._sums.totals(), SampleSums()
        if not totals:
            raise ValueError(f"batches: no sample came to block {block}; cross-attention needs some with pictures")
        drift, visual, text, count = totals["counts"].tolist()
        self.statistics = SetStatistics(drift / visual if visual else 0.0, int(count), int(text), int(visual))


class ActivationNorms(BlockCallback):
    """L2 norm of each input channel of each Linear, text and visual tokens apart; experts are left out."""

    def __init__(self) -> None:
        self.norms: dict[str, dict[str, Tensor]] = {}
        self._sums = SampleSums()

    def observe(self, sample: Sample) -> None:
        modalities = torch.stack([sample.tokens.text, sample.tokens.visual])
        for site, inputs in sample.inputs.items():
            if isinstance(inputs, LinearInputs):
                self._sums.add(site, sample.tokens.sample, inputs.square_sums(modalities))

    def finish(self, block: int) -> None:
        self.norms = {"text": {}, "visual": {}}
        for site, total in self._sums.totals().items():
            self.norms["text"][site], self.norms["visual"][site] = total.sqrt()
        self._sums = SampleSums()


@dataclass(frozen=True)
class Plan:
    """How one pathway is pruned; ``sparsities`` is by target."""

    selection: TokenSelection
    criterion: Criterion
    pattern: Pattern
    sparsities: Mapping[str, float]


class Pruning(BlockCallback):
    """Makes each pathway's masks when a block is finished, and installs them before the next block is reached.

    ``install`` is given the name of a target, the target, and a mask for each pathway; ``keep`` is given what a block
    came to.
    """

    def __init__(
        self,
        lvlm: LVLM,
        targets: Mapping[str, Target],
        plans: Mapping[str, Plan],
        install: Callable[[str, Target, Mapping[str, Tensor]], None],
        keep: Callable[[FinishedBlock], None],
        drift: Drift,
        norms: ActivationNorms,
    ) -> None:
        self.lvlm, self.targets, self.plans, self.install, self.keep = lvlm, targets, plans, install, keep
        self.drift, self.norms = drift, norms
        self.masks = {pathway: PackedMasks() for pathway in plans}
        self.blocks: list[BlockReport] = []
        self._pools = {pathway: Pool(plan.selection) for pathway, plan in plans.items()}
        self._site_of: dict[str, str] = {}
        self._started = perf_counter()

    def observe(self, sample: Sample) -> None:
        self._site_of = sample.site_of
        for pool in self._pools.values():
            pool.observe(sample)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = perf_counter()

    def finish(self, block: int) -> None:
        # A rank without samples has seen no target called.
        site_of = {name: site for by_name in gathered(self._site_of) for name, site in by_name.items()}
        pools: dict[str, BlockPool] = {}
        names = [name for name in self.targets if self.lvlm.block_of(name) == block]
        made: dict[str, PackedMasks] = {}
        for pathway, plan in self.plans.items():
            pools[pathway] = pool = self._pools[pathway].finish(self.drift.statistics)
            made[pathway] = PackedMasks()
            for name in names:
                if name not in site_of:
                    raise ValueError(f"targets: block {block} never calls {name}")
                score = plan.criterion.score(self.targets[name].weight.detach(), pool.statistics[site_of[name]])
                if score.isnan().any():
                    raise ValueError(f"criterion: {type(plan.criterion).__name__} gave a NaN score in {name}")
                made[pathway].update({name: plan.pattern.mask(score, plan.sparsities[name])})
        agree(tensors_digest(masks.packed for masks in made.values()), f"masks of block {block}")
        for pool in pools.values():
            warn_of_starved(block, pool.experts)
        finished = FinishedBlock(self._report(block, pools), made)
        self.take(finished)
        self.put(finished)
        self.keep(finished)

    def take(self, finished: FinishedBlock) -> None:
        """Counts a block as done."""
        self.blocks.append(finished.report)
        for pathway, masks in finished.masks.items():
            self.masks[pathway].update(masks)

    def put(self, finished: FinishedBlock) -> None:
        """Installs a block's masks."""
        for name in next(iter(finished.masks.values())):
            masks = {pathway: masks[name] for pathway, masks in finished.masks.items()}
            self.install(name, self.targets[name], masks)

    def _report(self, block: int, pools: Mapping[str, BlockPool]) -> BlockReport:
        started, self._started = self._started, perf_counter()
        statistics = self.drift.statistics
        tokens = {"text": statistics.text_tokens, "visual": statistics.visual_tokens}
        return BlockReport(
            block=block,
            mean_drift=statistics.mean_drift,
            tokens=tokens,
            selected={name: {"text": pool.text, "visual": pool.visual} for name, pool in pools.items()},
            norms={m: {site: _rms(n, tokens[m]) for site, n in by.items()} for m, by in self.norms.norms.items()},
            seconds=self._started - started,
            experts={name: pool.experts for name, pool in pools.items() if pool.experts},
        )


def _rms(norm: Tensor, tokens: int) -> float:
    """Root mean square activation of a site over channels and tokens, from its channel norms."""
    return float((norm.square().mean() / max(tokens, 1)).sqrt())
