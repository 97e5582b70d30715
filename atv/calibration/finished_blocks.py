"""The blocks finished so far: puts their results into the model and keeps them in the run's folder."""

from collections.abc import Callable, Sequence

from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded
from atv.model.offloaded_blocks import OffloadedBlocks
from atv.records.run_folder import FinishedBlock, RunFolder


class FinishedBlocks:
    """Sole owner of finished blocks, which come from calibration or from an earlier start of the same run.

    A block that was just finished goes into the model in the form that the folder keeps, as a block of an earlier start
    does. Both take the same path, so that a run that was killed and resumed ends with the same weights.

    Args:
        install_block: puts a block's results into the model.
        collect: adds a block to the run's outcome; called once per block, in order.
        folder: where each block is kept, so that a killed run can resume; None keeps nothing.
        writes: whether this rank writes to the folder.

    Raises:
        ValueError: if the model is offloaded and there is no folder.
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
                raise ValueError("run_dir: an offloaded model needs one, because its finished blocks are written there")
            self.offloaded = OffloadedBlocks(lvlm, folder.folder)

    def add(self, block: FinishedBlock) -> None:
        """Adds a block that was just finished."""
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
        """Collects and returns the blocks that an earlier start kept; ``reinstall`` puts them into the model."""
        kept_blocks = [] if self.folder is None else self.folder.read_blocks()
        for block in kept_blocks:
            self.collect(block)
        return kept_blocks

    def reinstall(self, blocks: Sequence[FinishedBlock]) -> None:
        """Puts blocks that an earlier start finished back into the model, even if it was not offloaded then."""
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
