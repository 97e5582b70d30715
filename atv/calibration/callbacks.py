"""What the prediction loop gathers of every block, and what it does when a block was seen by all samples."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import lightning as L
import torch
from torch import Tensor

from atv.calibration.block_training import WaitingBlock, trained
from atv.calibration.loop import BlockwiseCalibration, CalibrationBatch
from atv.calibration.parted_pool import PartedPool
from atv.calibration.pathway_plan import PathwayPlan, StepsTaken
from atv.calibration.pool import BlockPool, Pool, warn_of_starved
from atv.calibration.samples import LinearInputs, Sample
from atv.calibration.sums import MatrixSum, SampleSums
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.records.digests import tensors_digest
from atv.records.masks import PackedMasks
from atv.records.pruning_report import BlockReport
from atv.records.run_folder import SHIFT, FinishedBlock
from atv.refinement import BlockReconstruction
from atv.runtime.ranks import agree
from atv.selection import PartedSelection, SetStatistics, TokenSelection, WholeSet


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
        pl_module: L.LightningModule,
        outputs: Any,
        batch: CalibrationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, BlockwiseCalibration)
        for sample in outputs:
            self.observe(sample)
        if batch_idx + 1 == trainer.num_predict_batches[dataloader_idx]:
            self.finish(pl_module.first_block + dataloader_idx)


class Drift(BlockCallback):
    """The mean drift of all visual tokens of the calibration set, weighted by token (ATV-Pruning, step 3).

    ``whole``, the set's tokens, is handed on to rules that ask for it.
    """

    def __init__(self, whole: WholeSet | None = None) -> None:
        self.statistics: SetStatistics
        self.whole = whole
        self._sums = SampleSums()

    def observe(self, sample: Sample) -> None:
        tokens = sample.tokens
        visual, text = (tokens.drift[kind].double().sum() for kind in (tokens.visual, tokens.text))
        counts = [visual, text, tokens.visual.sum(), tokens.text.sum(), torch.ones_like(visual)]
        self._sums.add("counts", tokens.sample, torch.stack([count.double() for count in counts]))

    def finish(self, block: int) -> None:
        totals, self._sums = self._sums.totals(), SampleSums()
        if not totals:
            raise ValueError(f"batches: no sample came to block {block}; cross-attention needs some with pictures")
        drift, text_drift, visual, text, count = totals["counts"].tolist()
        mean, text_mean = drift / max(visual, 1), text_drift / max(text, 1)
        self.statistics = SetStatistics(mean, int(count), int(text), int(visual), self.whole, text_mean)


class ActivationNorms(BlockCallback):
    """L2 norm of each input channel of each Linear, text and visual tokens apart; experts are left out.

    ``halves`` has the mean squares of a token, (2, in) by site, text first: of all samples, or of either half where the
    whole set is known.
    """

    def __init__(self, whole: WholeSet | None = None) -> None:
        self.norms: dict[str, dict[str, Tensor]] = {}
        self.halves: list[dict[str, Tensor]] = []
        self._half_of = None if whole is None else whole.half.tolist()
        self._sums = [SampleSums() for _ in range(1 if whole is None else 2)]

    def observe(self, sample: Sample) -> None:
        modalities, index = torch.stack([sample.tokens.text, sample.tokens.visual]), sample.tokens.sample
        sums = self._sums[0 if self._half_of is None else self._half_of[index]]
        sums.add("", index, modalities.sum(1).float())
        for site, inputs in sample.inputs.items():
            if isinstance(inputs, LinearInputs):
                sums.add(site, index, inputs.square_sums(modalities))

    def finish(self, block: int) -> None:
        totals = [sums.totals() for sums in self._sums]
        tokens = [total.pop("", torch.zeros(2)).clamp(min=1)[:, None] for total in totals]
        self.halves = [{site: t / n for site, t in total.items()} for total, n in zip(totals, tokens, strict=True)]
        self.norms = {"text": {}, "visual": {}}
        for site in dict.fromkeys(site for total in totals for site in total):
            squares = torch.stack([total[site] for total in totals if site in total]).sum(0)
            self.norms["text"][site], self.norms["visual"][site] = squares.sqrt()
        self._sums = [SampleSums() for _ in totals]


class RegionalGradients(BlockCallback):
    """By Linear, the sum over samples of (d||block(x)||_2 / dW)^2, entry by entry: ``squares``, float32 (out, in).

    Of the block that was seen last, where one was.
    """

    def __init__(self, lvlm: LVLM, targets: Mapping[str, Target]) -> None:
        self.squares: dict[str, Tensor] = {}
        self._inside = lvlm.by_block(targets)
        self._sums: dict[str, MatrixSum] = defaultdict(MatrixSum)

    def observe(self, sample: Sample) -> None:
        # Gradients are of the norm times the root of as many.
        count = sample.tokens.output.numel()
        for name, gradient in sample.gradients.items():
            inputs = sample.inputs[sample.site_of[name]]
            assert isinstance(inputs, LinearInputs)
            product = gradient.float().T @ inputs.values.float()
            self._sums[name].add(product.double().square_().div_(count))

    def finish(self, block: int) -> None:
        shapes = {name: target.weight.shape for name, target in self._inside[block].items()}
        self.squares = {name: self._sums[name].total(*shape).float() for name, shape in shapes.items()}
        self._sums.clear()

    def into(self, pool: BlockPool, rule: TokenSelection, statistics: SetStatistics) -> BlockPool:
        """The pool with root mean squares, if there are any: over what its norms are means over, samples or tokens."""
        over = statistics.samples if rule.average == "samples" else statistics.text_tokens + statistics.visual_tokens
        found = {name: (squares / over).sqrt() for name, squares in self.squares.items()}
        known = pool.statistics.items()
        return replace(pool, statistics={name: replace(each, gradient=found.get(name)) for name, each in known})


class Pruning(BlockCallback):
    """Makes each pathway's masks when a block was seen by all samples; ``finished`` is given what the block came to,
    before the next block is reached."""

    def __init__(
        self,
        lvlm: LVLM,
        targets: Mapping[str, Target],
        plans: Mapping[str, PathwayPlan],
        finished: Callable[[FinishedBlock], None],
        drift: Drift,
        norms: ActivationNorms,
        gradients: RegionalGradients,
        loop: BlockwiseCalibration,
    ) -> None:
        self.plans, self.finished, self.loop = plans, finished, loop
        self._inside = lvlm.by_block(targets)
        self.drift, self.norms, self.gradients = drift, norms, gradients
        self._pools = {pathway: _pool(plan) for pathway, plan in plans.items()}
        self._started = perf_counter()

    def observe(self, sample: Sample) -> None:
        for pool in self._pools.values():
            pool.observe(sample)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = perf_counter()

    def finish(self, block: int) -> None:
        dense = {name: target.weight.detach() for name, target in self._inside[block].items()}
        pools: dict[str, BlockPool] = {}
        masks: dict[str, PackedMasks] = {}
        weights: dict[str, Tensor] = {}
        taken = {pathway: StepsTaken() for pathway in self.plans}
        for pathway, plan in self.plans.items():
            gathered, statistics = self._pools[pathway], self.drift.statistics
            if isinstance(gathered, PartedPool):
                pool = gathered.finish(statistics, self.norms.halves, dense)
            else:
                pool = gathered.finish(statistics)
            pools[pathway] = pool = self.gradients.into(pool, plan.selection, statistics)
            if missing := dense.keys() - pool.statistics.keys():
                raise ValueError(f"targets: block {block} never calls {min(missing)}")
            pruned = plan.prune(dense, pool.statistics, taken[pathway])
            if pruned and isinstance(plan.reconstruct, BlockReconstruction):
                waiting = WaitingBlock(block, self.loop, self._inside[block])
                pruned = trained(plan.reconstruct, waiting, dense, pruned, taken[pathway])
            masks[pathway] = PackedMasks({name: made.mask for name, made in pruned.items()})
            changed = {name: made.applied_to(dense[name]) for name, made in pruned.items() if made.weight is not None}
            weights |= {f"{pathway}/{name}": weight for name, weight in changed.items()}
            shifts = {name: made.shift for name, made in pruned.items() if made.shift is not None}
            weights |= {f"{pathway}/{name}.{SHIFT}": shift for name, shift in shifts.items()}
        agree(tensors_digest([*(made.packed for made in masks.values()), weights]), f"masks of block {block}")
        for pathway, plan in self.plans.items():
            warn_of_starved(block, pools[pathway].experts, plan.pattern.joint)
        self.finished(FinishedBlock(self._report(block, pools, taken), masks, weights))

    def _report(self, block: int, pools: Mapping[str, BlockPool], taken: Mapping[str, StepsTaken]) -> BlockReport:
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
            step_seconds={name: dict(steps.seconds) for name, steps in taken.items()},
            pool_weights={name: dict(pool.weights) for name, pool in pools.items() if pool.weights},
            step_errors={name: steps.mean_errors() for name, steps in taken.items() if steps.errors},
        )


def _pool(plan: PathwayPlan) -> Pool | PartedPool:
    if isinstance(plan.selection, PartedSelection):
        return PartedPool(plan.selection, plan)
    saliency, joint = plan.criterion.needs_saliency, plan.pattern.joint
    return Pool(plan.selection, plan.needs_gram, plan.needs_moments, saliency, compared=joint)


def _rms(norm: Tensor, tokens: int) -> float:
    """Root mean square activation of a site over channels and tokens, from its channel norms."""
    return float((norm.square().mean() / max(tokens, 1)).sqrt())
