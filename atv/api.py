"""The Python interface: prune a model, or decouple its pathways and prune each by itself."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from transformers import PreTrainedModel

from atv.allocation import Allocation
from atv.calibration.callbacks import ActivationNorms, Drift, Pruning
from atv.calibration.dense import allotted, dense_statistics
from atv.calibration.loop import BlockwiseCalibration, number
from atv.calibration.plan import Plan
from atv.calibration.preemption import Preemption
from atv.calibration.recorders import Recorder
from atv.criteria import Criterion, Pruned
from atv.fingerprint import tensors_digest, weights_digest
from atv.lvlm import LVLM
from atv.masks import PackedMasks
from atv.offload import OffloadedBlocks, is_offloaded, stored
from atv.pathways import decouple_target, route
from atv.patterns import Pattern, parse_pattern
from atv.plugins import describe, resolve
from atv.provenance import versions
from atv.report import PathwayReport, PruningReport
from atv.run_folder import FinishedBlock, RunFolder
from atv.selection import TokenSelection
from atv.targets import Target
from atv.trainer import quiet_trainer

BOTH = "both"


@dataclass(frozen=True)
class Pathway:
    """How one pathway of a decoupled model is pruned; ``sparsity=0`` leaves it dense."""

    selection: TokenSelection | str
    sparsity: float | None = None
    criterion: Criterion | str = "Wanda"
    pattern: Pattern | str = "unstructured"
    allocation: Allocation | str = "Uniform"

    def plan(self, lvlm: LVLM, targets: Mapping[str, Target]) -> Plan:
        """Names resolved and everything checked against the targets, before any calibration.

        Raises:
            ValueError: for an unknown name, a sparsity outside [0, 1), parts that contradict each other or cannot
                serve experts, or a pattern that does not fit a target; the message names the argument, the value and
                the choices.
        """
        pattern = parse_pattern(self.pattern)
        plan = Plan(
            resolve(self.selection, TokenSelection, "selection"),
            resolve(self.criterion, Criterion, "criterion"),
            pattern,
            resolve(self.allocation, Allocation, "allocation"),
            self._sparsity(pattern),
        )
        plan.check(targets)
        return plan if plan.allocation.needs_dense else plan.allotted(targets, dense_statistics(lvlm, targets))

    def _sparsity(self, pattern: Pattern) -> float:
        implied, asked = pattern.sparsity, self.sparsity
        if asked is not None and not (math.isfinite(asked) and 0 <= asked < 1):
            raise ValueError(f"sparsity: expected a number in [0, 1), got {asked}")
        if implied is not None and asked is not None and asked != implied:
            raise ValueError(f"sparsity: {asked} contradicts the pattern {self.pattern!r}, which implies {implied}")
        return implied if implied is not None else 0.5 if asked is None else asked


def prune(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    selection: TokenSelection | str = "DriftTopK",
    criterion: Criterion | str = "Wanda",
    pattern: Pattern | str = "unstructured",
    sparsity: float | None = None,
    allocation: Allocation | str = "Uniform",
    targets: Sequence[str] | None = None,
    propagate: bool = True,
    seed: int = 0,
    trainer: L.Trainer | None = None,
    run_dir: str | Path | None = None,
) -> PruningReport:
    """Prunes an LVLM's language model in place, block by block, by default as ATV-Pruning does.

    Args:
        model: any transformers LVLM with a text decoder and an image token; one loaded with
            ``atv.offload.load_offloaded`` leaves its pruned weights in shards in ``run_dir``.
        batches: the dicts that its processor returns, one or several samples each, padded or not; read once.
        selection: which tokens enter the calibration pool: an instance, a class name or a dotted path.
        criterion: how a weight is scored, likewise.
        pattern: "unstructured", "2:4", "4:8", an instance, a class name or a dotted path. N:M keeps N of every M inputs
            of a row.
        sparsity: fraction of each row that is pruned; None is 0.5, or what N:M implies.
        allocation: how the sparsity is shared out over the Linears: an instance, a class name or a dotted path.
        targets: shell-style patterns of names; None is every Linear and expert of the decoder's blocks but routers.
        propagate: whether a block sees its predecessors pruned; False is one-shot pruning.
        seed: of whatever a rule draws; the same seed gives the same masks.
        trainer: runs the prediction loop; None makes one with a progress bar.
        run_dir: where each finished block, masks.safetensors and report.json are written, if given; the same call
            goes on from the last finished block, a call that differs is refused.

    Raises:
        ValueError: for any argument that does not fit, before calibration starts; for activations that are not
            finite, at the first block and sample that shows them.
    """
    lvlm = LVLM.of(model)
    chosen = lvlm.targets(targets)
    plans = {BOTH: Pathway(selection, sparsity, criterion, pattern, allocation).plan(lvlm, chosen)}

    def write(name: str, target: Target, pruned: Mapping[str, Pruned]) -> None:
        target.weight.data.copy_(pruned[BOTH].applied_to(target.weight.data))

    return _run(lvlm, batches, chosen, plans, write, propagate, seed, trainer, run_dir)


def decouple(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    text: Pathway,
    visual: Pathway,
    targets: Sequence[str] | None = None,
    propagate: bool = True,
    seed: int = 0,
    trainer: L.Trainer | None = None,
    run_dir: str | Path | None = None,
) -> PruningReport:
    """Gives every target one weight a modality, each pruned in its own way, in place (the paper's probe).

    Generated tokens are text. To leave ``o_proj`` shared and dense, name the other Linears in ``targets``.

    Args:
        text, visual: how each pathway is calibrated and pruned.
        model, batches, targets, propagate, seed, trainer, run_dir: as for ``prune``.

    Returns:
        A report whose ``pathways["text"]`` and ``pathways["visual"]`` hold the masks.

    Raises:
        ValueError: as ``prune`` does.
    """
    if is_offloaded(model):
        raise ValueError("model: pathways of an offloaded model cannot be decoupled; load it whole")
    lvlm = LVLM.of(model)
    chosen = lvlm.targets(targets)
    plans = {"text": text.plan(lvlm, chosen), "visual": visual.plan(lvlm, chosen)}

    def replace(name: str, target: Target, pruned: Mapping[str, Pruned]) -> None:
        decouple_target(model, name, target, **pruned)

    route(lvlm)
    return _run(lvlm, batches, chosen, plans, replace, propagate, seed, trainer, run_dir)


def _run(
    lvlm: LVLM,
    batches: Iterable[Mapping[str, Any]],
    targets: Mapping[str, Target],
    plans: Mapping[str, Plan],
    install: Any,
    propagate: bool,
    seed: int,
    trainer: L.Trainer | None,
    run_dir: str | Path | None,
) -> PruningReport:
    numbered = number(iter(batches))
    settings = _settings(plans, targets, propagate)
    given = (batch.inputs or {} for batch in numbered)
    folder = None if run_dir is None else RunFolder(Path(run_dir), _identity(lvlm, settings, given, seed))
    parameters = sum(parameter.numel() for parameter in lvlm.model.parameters())
    trainer = trainer or quiet_trainer()
    offloaded = _offloaded(lvlm, folder)
    if folder is not None and trainer.is_global_zero:
        folder.begin()
    known = None if folder is None else folder.allocation()
    plans, allocation = allotted(lvlm, targets, plans, numbered, trainer, seed, known)
    if folder is not None and trainer.is_global_zero:
        folder.save_allocation(allocation)
    drift, norms = Drift(), ActivationNorms()
    recorder = Recorder(lvlm, [plan.selection for plan in plans.values()])

    def keep(block: FinishedBlock) -> None:
        index = block.report.block
        if trainer.is_global_zero:
            if offloaded is not None:
                offloaded.store(index)
            if folder is not None:
                folder.save(block)
        if offloaded is not None:
            offloaded.leave_device(index)

    pruning = Pruning(lvlm, targets, plans, install, keep, drift, norms)
    restored = folder.finished() if folder is not None else []
    for block in restored:
        pruning.take(block)

    def put_restored() -> None:
        for block in restored:
            if offloaded is not None:
                offloaded.point_to_shard(block.report.block)
            else:
                pruning.put(block)

    if propagate:
        put_restored()
    loop = BlockwiseCalibration(lvlm, seed, len(restored), offloaded, recorder)
    before = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [*before, drift, norms, pruning, Preemption()]  # type: ignore[attr-defined]
    try:
        loop.run(trainer, numbered, targets, propagate)
    finally:
        trainer.callbacks = before  # type: ignore[attr-defined]
    if not propagate:
        put_restored()
    if len(pruning.blocks) != len(lvlm.blocks):
        raise RuntimeError(f"calibration ended after {len(pruning.blocks)} of {len(lvlm.blocks)} blocks")
    report = PruningReport(
        masks=pruning.masks.get(BOTH, PackedMasks()),
        blocks=pruning.blocks,
        parameters=parameters,
        seed=seed,
        settings=settings,
        versions=versions(),
        allocation=allocation,
        pathways={name: PathwayReport(masks) for name, masks in pruning.masks.items() if name != BOTH},
        waiting_bytes_per_token=loop.held_bytes / loop.held_tokens if loop.held_tokens else None,
        left_dense=lvlm.left_dense,
    )
    if folder is not None and trainer.is_global_zero:
        folder.leave(report)
    return report


def _offloaded(lvlm: LVLM, folder: RunFolder | None) -> OffloadedBlocks | None:
    if not is_offloaded(lvlm.model):
        return None
    if folder is None:
        raise ValueError("run_dir: an offloaded model needs one, its pruned blocks are written there")
    return OffloadedBlocks(lvlm, folder.folder)


def identity(
    lvlm: LVLM,
    batches: Iterable[Mapping[str, Any]],
    plan: Plan,
    targets: Iterable[str],
    propagate: bool,
    seed: int,
) -> dict[str, Any]:
    """By what ``prune`` knows its own run in a folder: settings, and digests of model and data."""
    return _identity(lvlm, _settings({BOTH: plan}, targets, propagate), batches, seed)


def _identity(
    lvlm: LVLM, settings: Mapping[str, Any], batches: Iterable[Mapping[str, Any]], seed: int
) -> dict[str, Any]:
    weights = ((name, stored(lvlm.model, name)) for name, _ in lvlm.model.named_parameters())
    return {**settings, "seed": seed, "model": weights_digest(weights), "calibration data": tensors_digest(batches)}


def _settings(plans: Mapping[str, Plan], targets: Iterable[str], propagate: bool) -> dict[str, Any]:
    described = {name: _describe(plan) for name, plan in plans.items()}
    return {"plans": described, "targets": list(targets), "propagate": propagate}


def _describe(plan: Plan) -> dict[str, Any]:
    """Class names and arguments, for the report."""
    return {
        "selection": describe(plan.selection, TokenSelection),
        "criterion": describe(plan.criterion, Criterion),
        "pattern": describe(plan.pattern, Pattern),
        "allocation": describe(plan.allocation, Allocation),
        "sparsity": plan.sparsity,
    }
