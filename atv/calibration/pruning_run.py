"""One pruning run: its identity, the allocation, calibration block by block, and the report."""

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
    """What to prune (``targets``) and how (``plans`` by pathway; ``precision`` if it is not the model's own).

    ``calibration`` is used only in the report.
    """

    lvlm: LVLM
    targets: Mapping[str, Target]
    plans: Mapping[str, PathwayPlan]
    propagate: bool = True
    seed: int = 0
    calibration: Mapping[str, Any] = field(default_factory=dict)
    precision: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Returns class names, arguments and precision, for the report."""
        plans = {name: _describe_plan(plan) for name, plan in self.plans.items()}
        return {"plans": plans, "targets": list(self.targets), "propagate": self.propagate, **self.precision}

    def identity(self, batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Returns what identifies this run: its settings, and digests of model, data and the user's own code."""
        digests = model_digests(self.lvlm.model) | {"calibration data": tensors_digest(batches)}
        code = code_identity(plugin for plan in self.plans.values() for plugin in plan.plugins)
        return {**self.settings(), "seed": self.seed, **digests, **code}


def _describe_plan(plan: PathwayPlan) -> dict[str, Any]:
    refine = [describe(step) for step in plan.refine]
    return {
        "selection": describe(plan.selection),
        "criterion": describe(plan.criterion),
        "pattern": describe(plan.pattern),
        "allocation": describe(plan.allocation),
        "sparsity": plan.sparsity,
        # Included only if set, so that the identity of runs without these steps does not change.
        **({"refine": refine[0] if len(refine) == 1 else refine} if refine else {}),
        **({"reconstruct": describe(plan.reconstruct)} if plan.reconstruct else {}),
    }


InstallTarget = Callable[[str, Target, Mapping[str, Pruned]], None]


@dataclass
class _Outcome:
    """The results of the finished blocks: masks by pathway, and one report per block."""

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
    """Prunes block by block; ``install_target`` puts each pruned target into the model.

    If ``run_dir`` is given, the run resumes after the last block that it holds.

    Raises:
        ValueError: if the folder holds a different run, or the model is offloaded and there is no folder.
    """
    numbered = numbered_batches(job.lvlm, batches)
    trainer = trainer or quiet_trainer()
    # Once read, the batches may carry a record of their samples.
    calibration = job.calibration or getattr(batches, "record", {})
    job = replace(job, calibration=calibration, precision=precision(trainer))
    # Counted now: as blocks finish, decoupling adds parameters and offloading removes them.
    parameters = sum(parameter.numel() for parameter in job.lvlm.model.parameters())
    left_dense = job.lvlm.left_dense
    folder = None if run_dir is None else RunFolder(Path(run_dir), job.identity([batch.content for batch in numbered]))
    if folder is not None and trainer.is_global_zero:
        folder.begin()
    outcome = _Outcome({pathway: PackedMasks() for pathway in job.plans})
    install_block = partial(_install_block, job, install_target)
    finished = FinishedBlocks(job.lvlm, install_block, outcome.collect, folder, trainer.is_global_zero)
    if folder is not None and folder.saved:
        return _saved_report(job, finished, folder)
    # Before any forward pass: this rejects a rule that these batches cannot serve.
    whole = whole_set(job.lvlm, numbered, [plan.selection for plan in job.plans.values()])
    plans, allocation = _plans_with_sparsities(job, numbered, trainer, folder)
    bytes_per_token = _calibrate(job, plans, finished, numbered, trainer, whole)
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
        waiting_bytes_per_token=bytes_per_token,
        left_dense=left_dense,
        calibration=job.calibration,
        base=_base_model(job),
        updates_weights=any(plan.updates_weights for plan in plans.values()),
        updates_biases=any(plan.updates_biases for plan in plans.values()),
        smaller=_config_changes(job, outcome.masks),
        **provenance(),
    )
    if folder is not None and trainer.is_global_zero:
        folder.write_outcome(report)
    return report


def _install_block(job: PruningJob, install_target: InstallTarget, block: FinishedBlock) -> None:
    """Puts the pruned targets of a block, for all pathways, into the model."""
    for name, pruned in unpack_block(block).items():
        install_target(name, job.targets[name], pruned)


def _calibrate(
    job: PruningJob,
    plans: Mapping[str, PathwayPlan],
    finished: FinishedBlocks,
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
    whole: WholeSet | None,
) -> float | None:
    """Prunes the unfinished blocks; returns the number of bytes that waiting forwards held per token."""
    kept_blocks = finished.read_kept()
    _check_masks(job, plans, kept_blocks)
    if job.propagate:
        finished.reinstall(kept_blocks)
    drift, norms = Drift(whole), ActivationNorms(whole)
    rules = [plan.selection for plan in plans.values()]
    needs_gradients = any(plan.criterion.needs_gradient for plan in plans.values())
    loop = BlockwiseCalibration(job.lvlm, job.seed, rules, len(kept_blocks), finished.offloaded, whole, needs_gradients)
    gradients = RegionalGradients(job.lvlm, job.targets)
    pruning = Pruning(job.lvlm, job.targets, plans, finished.add, drift, norms, gradients, loop)
    stop = StopCalibration(len(batches), kept=finished.folder is not None)
    # The order matters: pruning uses what the earlier callbacks gathered, and saves the block before calibration stops.
    callbacks = (drift, norms, *([gradients] if needs_gradients else []), pruning, stop)
    with running(trainer, *callbacks), staying_on_its_device(job.lvlm.model):
        loop.run(trainer, batches, job.targets, job.propagate)
    if not job.propagate:
        finished.reinstall(kept_blocks)
    return loop.held_bytes / loop.held_tokens if loop.held_tokens else None


def _check_masks(job: PruningJob, plans: Mapping[str, PathwayPlan], kept_blocks: Sequence[FinishedBlock]) -> None:
    """Rejects kept blocks that lack the mask of any of their targets."""
    for block, targets in zip(kept_blocks, job.lvlm.by_block(job.targets), strict=False):
        if any(block.masks.get(pathway, {}).keys() != targets.keys() for pathway in plans):
            file = f"blocks/{block.report.block:03d}.json"
            raise ValueError(f"run_dir: {file} lacks masks of the run's targets; delete it to prune the block again")


def _plans_with_sparsities(
    job: PruningJob, batches: Sequence[CalibrationBatch], trainer: L.Trainer, folder: RunFolder | None
) -> tuple[dict[str, PathwayPlan], AllocationReport]:
    """Returns the plans with measurements of the dense model; sparsities come from the folder if it keeps any."""
    kept_allocation = None if folder is None else folder.read_allocation()
    if kept_allocation and any(
        kept_allocation.sparsities.get(name, {}).keys() != job.targets.keys() for name in job.plans
    ):
        raise ValueError("run_dir: its allocation.json does not cover this run's targets; delete it to allocate again")
    plans, allocation = measure_dense(job.lvlm, job.targets, job.plans, batches, trainer, job.seed, kept_allocation)
    if folder is not None and trainer.is_global_zero:
        folder.write_allocation(allocation)
    return plans, allocation


def _base_model(job: PruningJob) -> BaseModel:
    model = job.lvlm.model
    revision = getattr(model.config, "_commit_hash", None)
    return BaseModel(model.name_or_path or "unknown", revision, type(model).__name__, model.config.model_type)


def _config_changes(job: PruningJob, masks: Mapping[str, PackedMasks]) -> dict[str, list[int]]:
    """Fields of the decoder's config, with their values now and in the saved model; empty if zeros stay in place."""
    if BOTH not in masks:
        return {}
    removal = job.plans[BOTH].pattern.removal(job.lvlm, masks[BOTH])
    return {} if removal is None else removal.changes(job.lvlm.model.config)


def _saved_report(job: PruningJob, finished: FinishedBlocks, folder: RunFolder) -> PruningReport:
    """Returns the report of a run whose model was saved in its folder, and puts the saved weights into the model.

    If the model is offloaded but was saved whole, the report is still returned, and fetching a weight raises an error.

    Raises:
        ValueError: if something else has been saved there since.
    """
    report = PruningReport.read(folder.folder)
    if (report.settings, report.seed) != (plain(job.settings()), job.seed):
        raise ValueError(
            f"run_dir: {str(folder.folder)!r} holds the saved model of a different run; choose another folder"
        )
    if finished.offloaded is None:
        # The code in the folder comes from a model that was trusted in the same way as this one.
        checked_folder = check_folder(folder.folder, trust_remote_code=job.lvlm.model.is_remote_code())
        _restore_weights(job, report, load_whole(checked_folder))
    elif has_shards(folder.folder):
        for block in range(len(job.lvlm.blocks)):
            finished.offloaded.point_to_shard(block)
    else:
        # The report is available all the same.
        read_as(job.lvlm.model, partial(_refuse_weight, folder.folder))
    return report


def _refuse_weight(folder: Path, name: str, value: Tensor) -> NoReturn:
    raise ValueError(f"run_dir: the model in {str(folder)!r} was saved whole; load it without offload")


def _restore_weights(job: PruningJob, report: PruningReport, saved_model: PreTrainedModel) -> None:
    """Puts a saved model's weights into the one that is pruned; structures that were removed whole are zero there."""
    removal = job.plans[BOTH].pattern.removal(job.lvlm, report.masks)
    if removal is None:
        job.lvlm.model.load_state_dict(saved_model.state_dict())
        return
    for name, mask in report.masks.items():
        weight = job.targets[name].weight.data
        weight.masked_fill_(~mask.to(weight.device), 0)
        job.plans[BOTH].pattern.settle(job.lvlm, job.targets[name], mask)
    removal.put_back(job.lvlm.model, saved_model.state_dict())
