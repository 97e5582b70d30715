"""A separate pass over the dense model, for rules that measure it before anything is pruned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from atv.allocation import Allocation, DenseStatistics
from atv.calibration.calibration_set import CalibrationBatch
from atv.calibration.pathway_plan import PathwayPlan
from atv.calibration.sums import SampleSums
from atv.calibration.unchanged_inputs import unchanged
from atv.model.batch import DenseBatch, cast_floats
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded, stored_weight
from atv.model.targets import Target
from atv.records.pruning_report import AllocationReport
from atv.runtime.preemption import StopBetweenBatches
from atv.runtime.ranks import failing_together, padded
from atv.runtime.trainer import running, staying_on_its_device
from atv.selection import PartedSelection

# A trained model's weights are hardly ever exactly zero.
_MAX_ZERO_SHARE = 0.05


class DensePass(L.LightningModule):
    """Each step lets the rules of all pathways measure one batch."""

    def __init__(
        self,
        lvlm: LVLM,
        targets: Mapping[str, Target],
        rules: Mapping[str, Allocation | PartedSelection],
        seed: int,
    ) -> None:
        super().__init__()
        self.lvlm, self.rules, self.seed = lvlm, rules, seed
        self.linears = {name: target for name, target in targets.items() if isinstance(target, nn.Linear)}
        if not is_offloaded(lvlm.model):
            # Lightning moves registered modules to its device; an offloaded model moves itself.
            self.model = lvlm.model
        self.sums = {pathway: SampleSums() for pathway in rules}

    def predict_step(self, batch: CalibrationBatch | None, batch_idx: int) -> int:
        """Returns the number of samples that were measured."""
        if batch is None or batch.inputs is None:
            return 0
        inputs = cast_floats(batch.inputs, self.lvlm.model.dtype)
        visual, valid = self.lvlm.visual(inputs), self.lvlm.valid(inputs)
        dense = DenseBatch(inputs, visual & valid, valid, (self.seed, batch.first_sample), batch.answer)
        weights = {name: linear.weight for name, linear in self.linears.items()}
        for pathway, rule in self.rules.items():
            with unchanged(rule, "measure", weights=weights, batch=dense):
                measured = rule.measure(self.lvlm.model, self.linears, dense)
            for name, rows in measured.items():
                for row, term in enumerate(rows):
                    self.sums[pathway].add(name, batch.first_sample + row, term)
        return len(valid)


def measure_dense(
    lvlm: LVLM,
    targets: Mapping[str, Target],
    plans: Mapping[str, PathwayPlan],
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
    seed: int,
    report: AllocationReport | None = None,
) -> tuple[dict[str, PathwayPlan], AllocationReport]:
    """Returns the plans with the selections' measurements and every target's sparsity, and the allocation's report.

    ``report`` holds the sparsities that an earlier start of the same run found.
    """
    start_time = perf_counter()
    _warn_of_zeros(targets)

    def measured(rules: Mapping[str, Allocation | PartedSelection]) -> dict[str, dict[str, Tensor]]:
        return _run_dense_pass(DensePass(lvlm, targets, rules, seed), batches, trainer) if rules else {}

    selections = measured({pathway: rule for pathway, plan in plans.items() if (rule := plan.measuring_selection)})
    plans = {pathway: replace(plan, measured=selections.get(pathway, {})) for pathway, plan in plans.items()}
    if report is None:
        allocations = measured({name: plan.allocation for name, plan in plans.items() if plan.allocation.needs_dense})
        for pathway, totals in allocations.items():
            plans[pathway] = plans[pathway].with_sparsities(targets, dense_statistics(lvlm, targets, totals))
        seconds = perf_counter() - start_time if selections or allocations else 0.0
        report = AllocationReport({pathway: dict(plan.sparsities) for pathway, plan in plans.items()}, seconds)
    return {pathway: replace(plan, sparsities=report.sparsities[pathway]) for pathway, plan in plans.items()}, report


def _warn_of_zeros(targets: Mapping[str, Target]) -> None:
    """Warns of weights that are not a dense model's, such as those left by a run that failed in the same process."""
    weights = [weight for target in targets.values() if not (weight := target.weight.detach()).is_meta]
    zeros = sum(weight.numel() - int(weight.count_nonzero()) for weight in weights)
    if weights and (share := zeros / sum(weight.numel() for weight in weights)) > _MAX_ZERO_SHARE:
        rank_zero_warn(
            f"model: {share:.1%} of the targets' weights are zero before pruning; load the model again unless it is to "
            "be pruned further"
        )


def dense_statistics(
    lvlm: LVLM, targets: Mapping[str, Target], totals: Mapping[str, Tensor] | None = None
) -> DenseStatistics:
    """Returns what an allocation may know, with or without the totals of its measurements."""
    block_of = {name: lvlm.block_of(name) for name in targets}
    return DenseStatistics(block_of, lambda name: stored_weight(lvlm.model, f"{name}.weight").detach(), totals or {})


def _run_dense_pass(
    dense: DensePass, batches: Sequence[CalibrationBatch], trainer: L.Trainer
) -> dict[str, dict[str, Tensor]]:
    """Returns pathway -> Linear -> sum over all samples, equal on every rank."""
    steps: Any = padded(batches, trainer)
    with failing_together(trainer), running(trainer, StopBetweenBatches()), staying_on_its_device(dense.lvlm.model):
        loader = DataLoader(steps, batch_size=None, collate_fn=lambda batch: batch)
        trainer.predict(dense, loader, return_predictions=False)
        return {pathway: sums.totals() for pathway, sums in dense.sums.items()}
