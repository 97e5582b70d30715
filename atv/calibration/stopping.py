"""Stops calibration when a scheduler sends SIGTERM."""

from typing import Any

import lightning as L

from atv.calibration.callbacks import BlockCallback
from atv.calibration.loop import BlockwiseCalibration
from atv.calibration.samples import Sample
from atv.runtime.preemption import Preempted, Sigterm
from atv.runtime.ranks import gathered


class StopCalibration(BlockCallback):
    """Stops all ranks before the next batch, or after a finished block, once any rank has received SIGTERM.

    It must come after the callback that saves blocks.

    Args:
        batches: number of batches in the whole calibration set.
        kept: whether finished blocks are kept in a folder.
    """

    def __init__(self, batches: int, kept: bool) -> None:
        self._batches, self._keeps_blocks = batches, kept
        self._sigterm = Sigterm()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sigterm.listen()

    def on_predict_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: BlockwiseCalibration,  # type: ignore[override]
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Some ranks have one batch more than others, but all must take part equally often.
        if batch_idx < max(1, self._batches // trainer.world_size):
            self._stop_if_signalled(pl_module.first_block + dataloader_idx)

    def observe(self, sample: Sample) -> None:
        pass

    def finish(self, block: int) -> None:
        self._stop_if_signalled(block + 1)

    def _stop_if_signalled(self, finished: int) -> None:
        """Stops if any rank received SIGTERM; ``finished`` is the number of pruned blocks."""
        if not any(gathered(self._sigterm.received)):
            return
        message = f"stopped by SIGTERM with {finished} block{'' if finished == 1 else 's'} finished"
        if self._keeps_blocks:
            raise Preempted(f"{message}; finished blocks are kept, and the same command resumes from there")
        raise Preempted(f"{message}; nothing is kept without a run_dir: load the model again and restart")
