"""One pruning run: what identifies it, allocation, calibration block by block, and the report of all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
from torch import Tensor
from transformers import PreTrainedModel

from atv.calibration.calibration_set import CalibrationBatch, numbered_batches, whole_set
from atv.calibration.callbacks import ActivationNorms, Drift, RegionalGradients
from atv.calibration.dense_pass import measure_dense
from atv.calibration.finished_blocks import FinishedBlocks
from atv.calibration.loop import BlockwiseCalibration
from atv.calibration.pathway_plan import PathwayPlan
from atv.calibration.pruned_block import unpack_block
from atv.calibration.pruning_callback import Pruning
from atv.calibration.stopping import StopCalibration
from atv.criteria import Pruned
from atv.model.block_shards import has_shards
from atv.model.checkpoint import check_folder, load_whole
from atv.model.lvlm import LVLM
from atv.model.offload import model_digests, read_as
from atv.model.targets import Target
from atv.plugins import code_identity, describe
from atv.records.digests import tensors_digest
from atv.records.masks import PackedMasks
from atv.records.provenance import provenance
from atv.records.pruning_report import BOTH, AllocationReport, BaseModel, BlockReport, PathwayReport, PruningReport
from atv.records.run_folder import FinishedBlock, RunFolder, plain
from atv.runtime.trainer import precision, quiet_trainer, running, staying_on_its_device
from atv.selection import WholeSet


@dataclass(frozen=True)
class PruningJob:
    """What is pruned (``targets``) and how (``plans`` by pathway, ``precision`` where it is not the model's own);
    ``calibration`` is for the report alone."""

    lvlm: LVLM
    targets: Mapping[str, Target]
    plans: Mapping[str, PathwayPlan]
    propagate: bool = True
    seed: int = 0
    calibration: Mapping[str, Any] = field(default_factory=dict)
    precision: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Class names, arguments and precision, for the report."""
        described = {name: _describe(plan) for name, plan in self.plans.items()}
        return {"plans": described, "targets": list(self.targets), "propagate": self.propagate, **self.precision}

    def identity(self, batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """What tells this run from others: its settings, and the digests of model, data and the user's own code."""
        digests = model_digests(self.lvlm.model) | {"calibration data": tensors_digest(batches)}
        code = code_identity(part for plan in self.plans.values() for part in plan.plugins)
        return {**self.settings(), "seed": self.seed, **digests, **code}


def _describe(plan: PathwayPlan) -> dict[str, Any]:
    refine = [describe(step) for step in plan.refine]
    return {
        "selection": describe(plan.selection),
        "criterion": describe(plan.criterion),
        "pattern": describe(plan.pattern),
        "allocation": describe(plan.allocation),
        "sparsity": plan.sparsity,
        # Only where there is one, so that the identity of runs without stays what it was.
        **({"refine": refine[0] if len(refine) == 1 else refine} if refine else {}),
        **({"reconstruct": describe(plan.reconstruct)} if plan.reconstruct else {}),
    }


InstallTarget = Callable[[str, Target, Mapping[str, Pruned]], None]


@dataclass
class _Outcome:
    """The result of the finished blocks: masks by pathway, and a report each."""

    masks: dict[str, PackedMasks]
    reports: list[BlockReport] = field(default_factory=list)

    def collect(self, block: FinishedBlock) -> None:
        self.reports.append(block.report)
        for pathway, masks in block.masks.items():
            self.masks[pathway].update(masks)


def run(
    job: PruningJob,
    install_target: InstallTarget,
    batches: Iterable[Mapping[str, Any]],
    trainer: L.Trainer | None = None,
    run_dir: str | Path | None = None,
) -> PruningReport:
    """Prunes block by block; ``install_target`` puts what became of a target into the model.

    Goes on from the last block that ``run_dir`` holds, if given.

    Raises:
        ValueError: when the folder holds another run, or an offloaded model has none.
    """
    numbered = numbered_batches(job.lvlm, batches)
    trainer = trainer or quiet_trainer()
    # Once read, batches may say themselves which samples they are.
    samples = job.calibration or getattr(batches, "record", {})
    job = replace(job, calibration=samples, precision=precision(trainer))
    # Decoupled parameters multiply and offloaded ones leave as blocks finish: told before either.
    parameters = sum(parameter.numel() for parameter in job.lvlm.model.parameters())
    left_dense = job.lvlm.left_dense
    folder = None if run_dir is None else RunFolder(Path(run_dir), job.identity([batch.content for batch in numbered]))
    if folder is not None and trainer.is_global_zero:
        folder.begin()
    outcome = _Outcome({pathway: PackedMasks() for pathway in job.plans})
    install_block = partial(_install_block, job, install_target)
    finished = FinishedBlocks(job.lvlm, install_block, outcome.collect, folder, trainer.is_global_zero)
    if folder is not None and folder.saved:
        return _saved(job, finished, folder)
    # Before any forward: a rule that cannot be served by these batches is refused here.
    whole = whole_set(job.lvlm, numbered, [plan.selection for plan in job.plans.values()])
    plans, allocation = _plans_with_sparsities(job, numbered, trainer, folder)
    held = _calibrate(job, plans, finished, numbered, trainer, whole)
    if len(outcome.reports) != len(job.lvlm.blocks):
        raise RuntimeError(f"calibration ended after {len(outcome.reports)} of {len(job.lvlm.blocks)} blocks")
    report = PruningReport(
        masks=outcome.masks.get(BOTH, PackedMasks()),
        blocks=outcome.reports,
        parameters=parameters,
        seed=job.seed,
        settings=job.settings(),
        allocation=allocation,
        pathways={name: PathwayReport(masks) for name, masks in outcome.masks.items() if name != BOTH},
        waiting_bytes_per_token=held,
        left_dense=left_dense,
        calibration=job.calibration,
        base=_base(job),
        updates_weights=any(plan.updates_weights for plan in plans.values()),
        updates_biases=any(plan.updates_biases for plan in plans.values()),
        smaller=_smaller(job, outcome.masks),
        **provenance(),
    )
    if folder is not None and trainer.is_global_zero:
        folder.write_outcome(report)
    return report


def _install_block(job: PruningJob, install_target: InstallTarget, block: FinishedBlock) -> None:
    """Puts what became of a block's targets on each pathway into the model."""
    for name, made in unpack_block(block).items():
        install_target(name, job.targets[name], made)


def _calibrate(
    job: PruningJob,
    plans: Mapping[str, PathwayPlan],
    finished: FinishedBlocks,
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
    whole: WholeSet | None,
) -> float | None:
    """Prunes the blocks that are not finished; returns the bytes that a waiting token's forward held."""
    earlier = finished.read_kept()
    _check_kept(job, plans, earlier)
    if job.propagate:
        finished.reinstall(earlier)
    drift, norms = Drift(whole), ActivationNorms(whole)
    rules = [plan.selection for plan in plans.values()]
    asked = any(plan.criterion.needs_gradient for plan in plans.values())
    loop = BlockwiseCalibration(job.lvlm, job.seed, rules, len(earlier), finished.offloaded, whole, asked)
    gradients = RegionalGradients(job.lvlm, job.targets)
    pruning = Pruning(job.lvlm, job.targets, plans, finished.add, drift, norms, gradients, loop)
    stop = StopCalibration(len(batches), kept=finished.folder is not None)
    # In this order: a block is pruned by what the callbacks before have of it, and kept before calibration may stop.
    callbacks = (drift, norms, *([gradients] if asked else []), pruning, stop)
    with running(trainer, *callbacks), staying_on_its_device(job.lvlm.model):
        loop.run(trainer, batches, job.targets, job.propagate)
    if not job.propagate:
        finished.reinstall(earlier)
    return loop.held_bytes / loop.held_tokens if loop.held_tokens else None


def _check_kept(job: PruningJob, plans: Mapping[str, PathwayPlan], earlier: Sequence[FinishedBlock]) -> None:
    """Refuses kept blocks without the masks of all of their targets."""
    for block, targets in zip(earlier, job.lvlm.by_block(job.targets), strict=False):
        if any(block.masks.get(pathway, {}).keys() != targets.keys() for pathway in plans):
            kept = f"blocks/{block.report.block:03d}.json"
            raise ValueError(f"run_dir: {kept} lacks masks of the run's targets; take it away, and it is made again")


def _plans_with_sparsities(
    job: PruningJob, batches: Sequence[CalibrationBatch], trainer: L.Trainer, folder: RunFolder | None
) -> tuple[dict[str, PathwayPlan], AllocationReport]:
    """The plans with what is measured of the dense model; sparsities are those that the folder keeps, if any."""
    known = None if folder is None else folder.read_allocation()
    if known and any(known.sparsities.get(name, {}).keys() != job.targets.keys() for name in job.plans):
        raise ValueError("run_dir: its allocation.json has not this run's targets; take it away, and it is made again")
    plans, allocation = measure_dense(job.lvlm, job.targets, job.plans, batches, trainer, job.seed, known)
    if folder is not None and trainer.is_global_zero:
        folder.write_allocation(allocation)
    return plans, allocation


def _base(job: PruningJob) -> BaseModel:
    model = job.lvlm.model
    revision = getattr(model.config, "_commit_hash", None)
    return BaseModel(model.name_or_path or "unknown", revision, type(model).__name__, model.config.model_type)


def _smaller(job: PruningJob, masks: Mapping[str, PackedMasks]) -> dict[str, list[int]]:
    """Fields of the decoder's config, as they are and as they are once the model is saved; none where zeros stay."""
    if BOTH not in masks:
        return {}
    removal = job.plans[BOTH].pattern.removal(job.lvlm, masks[BOTH])
    return {} if removal is None else removal.changes(job.lvlm.model.config)


def _saved(job: PruningJob, finished: FinishedBlocks, folder: RunFolder) -> PruningReport:
    """The outcome of a run whose model was saved in its folder, with the saved weights in the model; an offloaded
    one of a model that was saved whole tells whoever fetches a weight so.

    Raises:
        ValueError: when something else was saved there since.
    """
    report = PruningReport.read(folder.folder)
    if (report.settings, report.seed) != (plain(job.settings()), job.seed):
        raise ValueError(f"run_dir: the model of another run was saved in {str(folder.folder)!r}; name another folder")
    if finished.offloaded is None:
        # The folder has its code from a model that was trusted as the one at hand is.
        checked = check_folder(folder.folder, trust_remote_code=job.lvlm.model.is_remote_code())
        _put_back(job, report, load_whole(checked))
    elif has_shards(folder.folder):
        for block in range(len(job.lvlm.blocks)):
            finished.offloaded.point_to_shard(block)
    else:
        # The report can be had all the same.
        read_as(job.lvlm.model, partial(_refuse, folder.folder))
    return report


def _refuse(folder: Path, name: str, value: Tensor) -> NoReturn:
    raise ValueError(f"run_dir: the model in {str(folder)!r} was saved whole; load it without offload")


def _put_back(job: PruningJob, report: PruningReport, saved: PreTrainedModel) -> None:
    """Has the weights of a saved model in the one that is pruned; what was taken out whole is zero there."""
    removal = job.plans[BOTH].pattern.removal(job.lvlm, report.masks)
    if removal is None:
        job.lvlm.model.load_state_dict(saved.state_dict())
        return
    for name, mask in report.masks.items():
        weight = job.targets[name].weight.data
        weight.masked_fill_(~mask.to(weight.device), 0)
        job.plans[BOTH].pattern.settle(job.lvlm, job.targets[name], mask)
    removal.put_back(job.lvlm.model, saved.state_dict())
