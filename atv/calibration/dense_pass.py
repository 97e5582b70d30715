"""A pass of its own over the dense model, for rules that measure it before anything is pruned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeGuard

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from atv.allocation import Allocation, DenseStatistics
from atv.calibration.in_place import unchanged
from atv.calibration.loop import CalibrationBatch
from atv.calibration.pathway_plan import PathwayPlan
from atv.calibration.sums import SampleSums
from atv.model.batch import DenseBatch, on_device
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded, stored
from atv.model.targets import Target
from atv.records.pruning_report import AllocationReport
from atv.runtime.preemption import StopBetweenBatches
from atv.runtime.ranks import padded, together
from atv.runtime.trainer import running
from atv.selection import PartedSelection, TokenSelection

# A trained model's weights are hardly ever exactly zero.
_FEW_ZEROS = 0.05


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
            # Lightning moves what it knows of to its device; an offloaded model moves itself.
            self.model = lvlm.model
        self.sums = {pathway: SampleSums() for pathway in rules}

    def predict_step(self, batch: CalibrationBatch | None, batch_idx: int) -> int:
        """Returns how many samples were measured."""
        if batch is None or batch.inputs is None:
            return 0
        inputs = on_device(batch.inputs, None, self.lvlm.model.dtype)
        visual, valid = self.lvlm.visual(inputs), self.lvlm.valid(inputs)
        dense = DenseBatch(inputs, visual & valid, valid, (self.seed, batch.first_sample), batch.answer)
        weights = {name: linear.weight for name, linear in self.linears.items()}
        for pathway, rule in self.rules.items():
            option = "allocation" if isinstance(rule, Allocation) else "selection"
            with unchanged(option, rule, "measure", weights=weights, batch=dense):
                measured = rule.measure(self.lvlm.model, self.linears, dense)
            for name, rows in measured.items():
                for row, term in enumerate(rows):
                    self.sums[pathway].add(name, batch.first_sample + row, term)
        return len(valid)


def allotted(
    lvlm: LVLM,
    targets: Mapping[str, Target],
    plans: Mapping[str, PathwayPlan],
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
    seed: int,
    known: AllocationReport | None = None,
) -> tuple[dict[str, PathwayPlan], AllocationReport]:
    """The plans with every Linear's sparsity, and what selections ask of the dense model, measured where needed.

    ``known`` is what an earlier start of the same run found of the former.

    Raises:
        ValueError: where a selection measures an offloaded model.
    """
    started = perf_counter()
    _warn_of_zeros(targets)
    rules = {name: plan.selection for name, plan in plans.items() if _measures(plan.selection, lvlm)}
    seen = _measured(DensePass(lvlm, targets, rules, seed), batches, trainer) if rules else {}
    measuring = {pathway: plan for pathway, plan in plans.items() if plan.allocation.needs_dense}
    if known is None and measuring:
        sharing = {pathway: plan.allocation for pathway, plan in measuring.items()}
        for pathway, totals in _measured(DensePass(lvlm, targets, sharing, seed), batches, trainer).items():
            measuring[pathway] = measuring[pathway].allotted(targets, dense_statistics(lvlm, targets, totals))
    if known is None:
        seconds = perf_counter() - started if rules or measuring else 0.0
        known = AllocationReport(_sparsities({**plans, **measuring}), seconds)
    made = {
        name: replace(plan, sparsities=known.sparsities[name], measured=seen.get(name, {}))
        for name, plan in plans.items()
    }
    return made, known


def _warn_of_zeros(targets: Mapping[str, Target]) -> None:
    """Warns of weights that are no dense model's, such as those of a run that failed in the same process."""
    weights = [weight for target in targets.values() if not (weight := target.weight.detach()).is_meta]
    zeros = sum(weight.numel() - int(weight.count_nonzero()) for weight in weights)
    if weights and (share := zeros / sum(weight.numel() for weight in weights)) > _FEW_ZEROS:
        rank_zero_warn(
            f"model: {share:.1%} of the targets' weights are zero before pruning; load the model again unless it is to "
            "be pruned further"
        )


def _measures(rule: TokenSelection, lvlm: LVLM) -> TypeGuard[PartedSelection]:
    """Whether a rule runs the dense model by itself."""
    if not (isinstance(rule, PartedSelection) and rule.needs_dense):
        return False
    if is_offloaded(lvlm.model):
        kind = type(rule).__name__
        raise ValueError(f"selection: {kind} runs the dense model backward, which an offloaded one cannot")
    return True


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


def _sparsities(plans: Mapping[str, PathwayPlan]) -> dict[str, dict[str, float]]:
    return {name: dict(plan.sparsities) for name, plan in plans.items()}
