"""The blocks that are finished so far: what they came to, in the model, and where they are kept."""

from collections.abc import Callable, Sequence

from atv.model.lvlm import LVLM
from atv.model.offload import OffloadedBlocks, is_offloaded
from atv.records.run_folder import FinishedBlock, RunFolder


class FinishedBlocks:
    """Sole owner of finished blocks: they come here from calibration, or from an earlier start of the same run.

    Args:
        install: puts what became of a block into the model.
        count: notes it for the outcome; called once a block, in order.
        folder: where each block is kept, so that a killed run goes on; None keeps nothing.
        writes: whether this rank writes to it.

    Raises:
        ValueError: for an offloaded model without a folder.
    """

    def __init__(
        self,
        lvlm: LVLM,
        install: Callable[[FinishedBlock], None],
        count: Callable[[FinishedBlock], None],
        folder: RunFolder | None,
        writes: bool,
    ) -> None:
        self.install, self.count, self.folder, self.writes = install, count, folder, writes
        self.offloaded: OffloadedBlocks | None = None
        if is_offloaded(lvlm.model):
            if folder is None:
                raise ValueError("run_dir: an offloaded model needs one, its finished blocks are written there")
            self.offloaded = OffloadedBlocks(lvlm, folder.folder)

    def add(self, block: FinishedBlock) -> None:
        """A block that was just finished."""
        self.count(block)
        self.install(block)
        index = block.report.block
        if self.writes:
            if self.offloaded is not None:
                self.offloaded.write_block(index)
            if self.folder is not None:
                self.folder.write_block(block)
        if self.offloaded is not None:
            self.offloaded.leave_device(index)

    def restore(self) -> list[FinishedBlock]:
        """Counts the blocks that an earlier start kept, and returns them; ``reinstall`` has them in the model again."""
        earlier = [] if self.folder is None else self.folder.read_blocks()
        for block in earlier:
            self.count(block)
        return earlier

    def reinstall(self, blocks: Sequence[FinishedBlock]) -> None:
        """Has blocks that an earlier start finished in the model again, also where it was not offloaded then."""
        for block in blocks:
            index = block.report.block
            if self.offloaded is None:
                self.install(block)
            elif self.offloaded.has_shard(index):
                self.offloaded.point_to_shard(index)
            else:
                self.offloaded.bring(index)
                self.install(block)
                if self.writes:
                    self.offloaded.write_block(index)
                self.offloaded.leave_device(index)
