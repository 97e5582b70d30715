"""One pruning run: allocation, calibration block by block, and what finished blocks leave."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from atv.calibration.attention_and_outputs import Recorder
from atv.calibration.callbacks import ActivationNorms, Drift, Install, Pruning
from atv.calibration.dense_pass import allotted
from atv.calibration.loop import BlockwiseCalibration, CalibrationBatch, number
from atv.calibration.pathway_plan import Plan
from atv.calibration.request import Request
from atv.calibration.stopping import Preemption
from atv.model.lvlm import LVLM
from atv.model.offload import OffloadedBlocks, is_offloaded
from atv.records.masks import PackedMasks
from atv.records.provenance import versions
from atv.records.pruning_report import AllocationReport, PathwayReport, PruningReport
from atv.records.run_folder import FinishedBlock, RunFolder
from atv.runtime.trainer import quiet_trainer

BOTH = "both"


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
    trainer = trainer or quiet_trainer()
    kept = KeptBlocks(request, numbered, trainer, run_dir)
    plans, allocation = _allotted(request, numbered, trainer, kept)
    drift, norms = Drift(), ActivationNorms()
    pruning = Pruning(request.lvlm, request.targets, plans, install, kept.keep, drift, norms)
    for block in kept.restored:
        pruning.take(block)
    if request.propagate:
        kept.put_back(pruning)
    recorder = Recorder(request.lvlm, [plan.selection for plan in plans.values()])
    loop = BlockwiseCalibration(request.lvlm, request.seed, len(kept.restored), kept.offloaded, recorder)
    before = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [*before, drift, norms, pruning, Preemption()]  # type: ignore[attr-defined]
    try:
        loop.run(trainer, numbered, request.targets, request.propagate)
    finally:
        trainer.callbacks = before  # type: ignore[attr-defined]
    if not request.propagate:
        kept.put_back(pruning)
    if len(pruning.blocks) != len(request.lvlm.blocks):
        raise RuntimeError(f"calibration ended after {len(pruning.blocks)} of {len(request.lvlm.blocks)} blocks")
    report = PruningReport(
        masks=pruning.masks.get(BOTH, PackedMasks()),
        blocks=pruning.blocks,
        parameters=kept.parameters,
        seed=request.seed,
        settings=request.settings(),
        versions=versions(),
        allocation=allocation,
        pathways={name: PathwayReport(masks) for name, masks in pruning.masks.items() if name != BOTH},
        waiting_bytes_per_token=loop.held_bytes / loop.held_tokens if loop.held_tokens else None,
        left_dense=request.lvlm.left_dense,
        calibration=request.calibration,
    )
    kept.leave(report)
    return report


class KeptBlocks:
    """What a run leaves behind block by block: files in its folder, shards of an offloaded model."""

    def __init__(
        self,
        request: Request,
        batches: Sequence[CalibrationBatch],
        trainer: L.Trainer,
        run_dir: str | Path | None,
    ) -> None:
        given = (batch.inputs or {} for batch in batches)
        self.folder = None if run_dir is None else RunFolder(Path(run_dir), request.identity(given))
        # Offloaded parameters leave as blocks finish, decoupled ones multiply: counted before either.
        self.parameters = sum(parameter.numel() for parameter in request.lvlm.model.parameters())
        self.offloaded = _offloaded(request.lvlm, self.folder)
        self.writes = trainer.is_global_zero
        if self.folder is not None and self.writes:
            self.folder.begin()
        self.restored = self.folder.finished() if self.folder is not None else []

    def keep(self, block: FinishedBlock) -> None:
        """Called once a block, when it is pruned."""
        index = block.report.block
        if self.writes:
            if self.offloaded is not None:
                self.offloaded.store(index)
            if self.folder is not None:
                self.folder.save(block)
        if self.offloaded is not None:
            self.offloaded.leave_device(index)

    def put_back(self, pruning: Pruning) -> None:
        """The weights of blocks that an earlier start pruned."""
        for block in self.restored:
            if self.offloaded is not None:
                self.offloaded.point_to_shard(block.report.block)
            else:
                pruning.put(block)

    def leave(self, report: PruningReport) -> None:
        """The run is done: its masks and report."""
        if self.folder is not None and self.writes:
            self.folder.leave(report)


def _allotted(
    request: Request, batches: Sequence[CalibrationBatch], trainer: L.Trainer, kept: KeptBlocks
) -> tuple[dict[str, Plan], AllocationReport]:
    known = None if kept.folder is None else kept.folder.allocation()
    plans, allocation = allotted(request.lvlm, request.targets, request.plans, batches, trainer, request.seed, known)
    if kept.folder is not None and kept.writes:
        kept.folder.save_allocation(allocation)
    return plans, allocation


def _offloaded(lvlm: LVLM, folder: RunFolder | None) -> OffloadedBlocks | None:
    if not is_offloaded(lvlm.model):
        return None
    if folder is None:
        raise ValueError("run_dir: an offloaded model needs one, its pruned blocks are written there")
    return OffloadedBlocks(lvlm, folder.folder)
