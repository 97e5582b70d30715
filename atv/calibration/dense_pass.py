"""A pass of its own over the dense model, for allocations that measure it before anything is pruned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import lightning as L
from torch import Tensor, nn
from torch.utils.data import DataLoader

from atv.allocation import DenseBatch, DenseStatistics
from atv.calibration.loop import CalibrationBatch
from atv.calibration.pathway_plan import Plan
from atv.calibration.sums import SampleSums
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded, stored
from atv.model.targets import Target
from atv.records.pruning_report import AllocationReport
from atv.runtime.preemption import StopBetweenBatches
from atv.runtime.ranks import padded, together
from atv.runtime.trainer import running


class DensePass(L.LightningModule):
    """Each step lets the plans' allocations measure one batch."""

    def __init__(self, lvlm: LVLM, targets: Mapping[str, Target], plans: Mapping[str, Plan], seed: int) -> None:
        super().__init__()
        self.lvlm, self.plans, self.seed = lvlm, plans, seed
        self.linears = {name: target for name, target in targets.items() if isinstance(target, nn.Linear)}
        if not is_offloaded(lvlm.model):
            # Lightning moves what it knows of to its device; an offloaded model moves itself.
            self.model = lvlm.model
        self.sums = {pathway: SampleSums() for pathway in plans}

    def predict_step(self, batch: CalibrationBatch | None, batch_idx: int) -> int:
        """Returns how many samples were measured."""
        if batch is None or batch.inputs is None:
            return 0
        visual, valid = self.lvlm.visual(batch.inputs), self.lvlm.valid(batch.inputs)
        dense = DenseBatch(batch.inputs, visual & valid, valid, (self.seed, batch.first_sample))
        for pathway, plan in self.plans.items():
            for name, rows in plan.allocation.measure(self.lvlm.model, self.linears, dense).items():
                for row, term in enumerate(rows):
                    self.sums[pathway].add(name, batch.first_sample + row, term)
        return len(valid)


def allotted(
    lvlm: LVLM,
    targets: Mapping[str, Target],
    plans: Mapping[str, Plan],
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
    seed: int,
    known: AllocationReport | None = None,
) -> tuple[dict[str, Plan], AllocationReport]:
    """The plans with every Linear's sparsity, measured on the dense model where an allocation needs it.

    ``known`` is what an earlier start of the same run found.
    """
    started = perf_counter()
    measuring = {pathway: plan for pathway, plan in plans.items() if plan.allocation.needs_dense}
    if known is None and measuring:
        for pathway, totals in _measured(DensePass(lvlm, targets, measuring, seed), batches, trainer).items():
            measuring[pathway] = measuring[pathway].allotted(targets, dense_statistics(lvlm, targets, totals))
        known = AllocationReport(_sparsities({**plans, **measuring}), perf_counter() - started)
    report = known or AllocationReport(_sparsities(plans))
    return {name: replace(plan, sparsities=report.sparsities[name]) for name, plan in plans.items()}, report


def dense_statistics(
    lvlm: LVLM, targets: Mapping[str, Target], totals: Mapping[str, Tensor] | None = None
) -> DenseStatistics:
    """What an allocation may know, with or without the totals of its measurements."""
    block_of = {name: lvlm.block_of(name) for name in targets}
    return DenseStatistics(block_of, lambda name: stored(lvlm.model, f"{name}.weight").detach(), totals or {})


def _measured(
    dense: DensePass, batches: Sequence[CalibrationBatch], trainer: L.Trainer
) -> dict[str, dict[str, Tensor]]:
    """Pathway -> Linear -> sum over all samples, equal on every rank."""
    steps: Any = padded(batches, trainer)
    with together(trainer), running(trainer, StopBetweenBatches()):
        loader = DataLoader(steps, batch_size=None, collate_fn=lambda batch: batch)
        trainer.predict(dense, loader, return_predictions=False)
        return {pathway: sums.totals() for pathway, sums in dense.sums.items()}


def _sparsities(plans: Mapping[str, Plan]) -> dict[str, dict[str, float]]:
    return {name: dict(plan.sparsities) for name, plan in plans.items()}
