"""One pruning run: allocation, calibration block by block, and the report of both."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from atv.calibration.attention_and_outputs import Recorder
from atv.calibration.callbacks import ActivationNorms, Drift, Pruning
from atv.calibration.dense_pass import allotted
from atv.calibration.finished_blocks import FinishedBlocks, Install, begun
from atv.calibration.loop import BlockwiseCalibration, CalibrationBatch, number
from atv.calibration.pathway_plan import Plan
from atv.calibration.request import Request
from atv.calibration.stopping import Preemption
from atv.records.masks import PackedMasks
from atv.records.provenance import provenance
from atv.records.pruning_report import BOTH, AllocationReport, BaseModel, PathwayReport, PruningReport
from atv.records.run_folder import RunFolder
from atv.runtime.trainer import quiet_trainer, running


def run(
    request: Request,
    install: Install,
    batches: Iterable[Mapping[str, Any]],
    trainer: L.Trainer | None = None,
    run_dir: str | Path | None = None,
) -> PruningReport:
    """Prunes block by block; ``install`` puts what became of a target into the model.

    Goes on from the last block that ``run_dir`` holds, if given.

    Raises:
        ValueError: when the folder holds another run, or an offloaded model has none.
    """
    numbered = number(iter(batches))
    request = request.of_samples(batches)
    trainer = trainer or quiet_trainer()
    # Decoupled parameters multiply and offloaded ones leave as blocks finish: counted before either.
    parameters = sum(parameter.numel() for parameter in request.lvlm.model.parameters())
    folder = begun(request, [batch.inputs or {} for batch in numbered], run_dir, trainer.is_global_zero)
    finished = FinishedBlocks(request, install, folder, trainer.is_global_zero)
    if folder is not None and folder.saved:
        return _saved(request, finished, folder)
    plans, allocation = _allotted(request, numbered, trainer, folder)
    held = _calibrate(request, plans, finished, numbered, trainer)
    report = PruningReport(
        masks=finished.masks.get(BOTH, PackedMasks()),
        blocks=finished.reports,
        parameters=parameters,
        seed=request.seed,
        settings=request.settings(),
        allocation=allocation,
        pathways={name: PathwayReport(masks) for name, masks in finished.masks.items() if name != BOTH},
        waiting_bytes_per_token=held,
        left_dense=request.lvlm.left_dense,
        calibration=request.calibration,
        base=_base(request),
        updates_weights=any(plan.criterion.updates_weights for plan in plans.values()),
        **provenance(),
    )
    if folder is not None and trainer.is_global_zero:
        folder.leave(report)
    return report


def _calibrate(
    request: Request,
    plans: Mapping[str, Plan],
    finished: FinishedBlocks,
    batches: Sequence[CalibrationBatch],
    trainer: L.Trainer,
) -> float | None:
    """Prunes the blocks that are not finished; returns the bytes that a waiting token's forward held."""
    earlier = finished.restore()
    if request.propagate:
        finished.put_back(earlier)
    drift, norms = Drift(), ActivationNorms()
    pruning = Pruning(request.lvlm, request.targets, plans, finished.add, drift, norms)
    recorder = Recorder(request.lvlm, [plan.selection for plan in plans.values()])
    loop = BlockwiseCalibration(request.lvlm, request.seed, len(earlier), finished.offloaded, recorder)
    with running(trainer, drift, norms, pruning, Preemption()):
        loop.run(trainer, batches, request.targets, request.propagate)
    if not request.propagate:
        finished.put_back(earlier)
    if len(finished.reports) != len(request.lvlm.blocks):
        raise RuntimeError(f"calibration ended after {len(finished.reports)} of {len(request.lvlm.blocks)} blocks")
    return loop.held_bytes / loop.held_tokens if loop.held_tokens else None


def _allotted(
    request: Request, batches: Sequence[CalibrationBatch], trainer: L.Trainer, folder: RunFolder | None
) -> tuple[dict[str, Plan], AllocationReport]:
    known = None if folder is None else folder.allocation()
    plans, allocation = allotted(request.lvlm, request.targets, request.plans, batches, trainer, request.seed, known)
    if folder is not None and trainer.is_global_zero:
        folder.save_allocation(allocation)
    return plans, allocation


def _base(request: Request) -> BaseModel:
    model = request.lvlm.model
    revision = getattr(model.config, "_commit_hash", None)
    return BaseModel(model.name_or_path or "unknown", revision, type(model).__name__, model.config.model_type)


def _saved(request: Request, finished: FinishedBlocks, folder: RunFolder) -> PruningReport:
    """The outcome of a run whose model was saved in its folder, with the saved weights in the model."""
    if finished.offloaded is not None:
        for block in range(len(request.lvlm.blocks)):
            finished.offloaded.point_to_shard(block)
    else:
        request.lvlm.model.load_state_dict(type(request.lvlm.model).from_pretrained(folder.folder).state_dict())
    return PruningReport.read(folder.folder)
