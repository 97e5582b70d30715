"""The blocks that are pruned so far: what they came to, in the model, and where they are kept."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from atv.calibration.pruning_job import PruningJob
from atv.criteria import Pruned
from atv.model.lvlm import LVLM
from atv.model.offload import OffloadedBlocks, is_offloaded
from atv.model.targets import Target
from atv.records.masks import PackedMasks
from atv.records.pruning_report import BlockReport
from atv.records.run_folder import SHIFT, FinishedBlock, RunFolder

Install = Callable[[str, Target, Mapping[str, Pruned]], None]


class FinishedBlocks:
    """Sole owner of finished blocks: they come here from calibration, or from an earlier start of the same run.

    Args:
        install: puts what became of a target on each pathway into the model; given its name, the target, and that.
        folder: where each block is kept, so that a killed run goes on; None keeps nothing.
        writes: whether this rank writes to it.

    Raises:
        ValueError: for an offloaded model without a folder.
    """

    def __init__(self, job: PruningJob, install: Install, folder: RunFolder | None, writes: bool) -> None:
        self._by_block = job.lvlm.by_block(job.targets)
        self.targets, self.install, self.folder, self.writes = job.targets, install, folder, writes
        self.masks = {pathway: PackedMasks() for pathway in job.plans}
        self.reports: list[BlockReport] = []
        self.offloaded = _offloaded(job.lvlm, folder)

    def add(self, block: FinishedBlock) -> None:
        """A block that was just pruned."""
        self._count(block)
        self._put(block)
        index = block.report.block
        if self.writes:
            if self.offloaded is not None:
                self.offloaded.write_block(index)
            if self.folder is not None:
                self.folder.write_block(block)
        if self.offloaded is not None:
            self.offloaded.leave_device(index)

    def restore(self) -> list[FinishedBlock]:
        """Counts the blocks that an earlier start kept, and returns them; ``reinstall`` has them in the model again.

        Raises:
            ValueError: for one without the masks of all of its targets.
        """
        earlier = [] if self.folder is None else self.folder.read_blocks()
        for block, targets in zip(earlier, self._by_block, strict=False):
            if any(block.masks.get(pathway, {}).keys() != targets.keys() for pathway in self.masks):
                kept = f"blocks/{block.report.block:03d}.json"
                raise ValueError(
                    f"run_dir: {kept} lacks masks of the run's targets; take it away, and it is made again"
                )
            self._count(block)
        return earlier

    def reinstall(self, blocks: Sequence[FinishedBlock]) -> None:
        """Has blocks that an earlier start pruned in the model again."""
        for block in blocks:
            if self.offloaded is not None:
                self.offloaded.point_to_shard(block.report.block)
            else:
                self._put(block)

    def _count(self, block: FinishedBlock) -> None:
        self.reports.append(block.report)
        for pathway, masks in block.masks.items():
            self.masks[pathway].update(masks)

    def _put(self, block: FinishedBlock) -> None:
        for name in next(iter(block.masks.values())):
            made = {
                pathway: Pruned(
                    masks[name],
                    block.weights.get(f"{pathway}/{name}"),
                    block.weights.get(f"{pathway}/{name}.{SHIFT}"),
                )
                for pathway, masks in block.masks.items()
            }
            self.install(name, self.targets[name], made)


def begun(job: PruningJob, inputs: Sequence[Mapping], run_dir: str | Path | None, writes: bool) -> RunFolder | None:
    """The folder of this run, marked as its own; None where nothing is to be kept.

    Raises:
        ValueError: when nothing can be written there, or another run is there.
    """
    if run_dir is None:
        return None
    folder = RunFolder(Path(run_dir), job.identity(inputs))
    if writes:
        folder.begin()
    return folder


def _offloaded(lvlm: LVLM, folder: RunFolder | None) -> OffloadedBlocks | None:
    if not is_offloaded(lvlm.model):
        return None
    if folder is None:
        raise ValueError("run_dir: an offloaded model needs one, its pruned blocks are written there")
    return OffloadedBlocks(lvlm, folder.folder)
