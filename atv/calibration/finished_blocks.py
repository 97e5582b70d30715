"""The blocks that are finished so far: their results, in the model, and where they are kept."""

from collections.abc import Callable, Sequence

from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded
from atv.model.offloaded_blocks import OffloadedBlocks
from atv.records.run_folder import FinishedBlock, RunFolder


class FinishedBlocks:
    """Sole owner of finished blocks: they come here from calibration, or from an earlier start of the same run.

    A block that was just finished goes into the model from what the folder would keep of it, as one of an earlier start
    does: both take the same path, so that a run that was killed and went on ends with the same weights.

    Args:
        install_block: puts what became of a block into the model.
        collect: adds it to the run's outcome; called once a block, in order.
        folder: where each block is kept, so that a killed run goes on; None keeps nothing.
        writes: whether this rank writes to it.

    Raises:
        ValueError: for an offloaded model without a folder.
    """

    def __init__(
        self,
        lvlm: LVLM,
        install_block: Callable[[FinishedBlock], None],
        collect: Callable[[FinishedBlock], None],
        folder: RunFolder | None,
        writes: bool,
    ) -> None:
        self.install_block, self.collect, self.folder, self.writes = install_block, collect, folder, writes
        self.offloaded: OffloadedBlocks | None = None
        if is_offloaded(lvlm.model):
            if folder is None:
                raise ValueError("run_dir: an offloaded model needs one, its finished blocks are written there")
            self.offloaded = OffloadedBlocks(lvlm, folder.folder)

    def add(self, block: FinishedBlock) -> None:
        """A block that was just finished."""
        self.collect(block)
        self.install_block(block)
        index = block.report.block
        if self.writes:
            if self.offloaded is not None:
                self.offloaded.write_block(index)
            if self.folder is not None:
                self.folder.write_block(block)
        if self.offloaded is not None:
            self.offloaded.leave_device(index)

    def read_kept(self) -> list[FinishedBlock]:
        """Collects the blocks that an earlier start kept, and returns them; ``reinstall`` puts them into the model."""
        earlier = [] if self.folder is None else self.folder.read_blocks()
        for block in earlier:
            self.collect(block)
        return earlier

    def reinstall(self, blocks: Sequence[FinishedBlock]) -> None:
        """Has blocks that an earlier start finished in the model again, also where it was not offloaded then."""
        for block in blocks:
            index = block.report.block
            if self.offloaded is None:
                self.install_block(block)
            elif self.offloaded.has_shard(index):
                self.offloaded.point_to_shard(index)
            else:
                self.offloaded.bring(index)
                self.install_block(block)
                if self.writes:
                    self.offloaded.write_block(index)
                self.offloaded.leave_device(index)
