"""What a scheduler's SIGTERM does to calibration."""

import signal
import threading
from typing import Any

import lightning as L

from atv.calibration.callbacks import BlockCallback
from atv.calibration.samples import Sample
from atv.runtime.preemption import Preempted
from atv.runtime.ranks import gathered


class Preemption(BlockCallback):
    """Stops all ranks after the block in hand, once any was sent SIGTERM.

    Comes after the callback that saves blocks. Lightning's own handler speaks to the other ranks from within the
    signal, in the middle of their collectives; this one takes its place until Lightning restores the original.
    """

    def __init__(self) -> None:
        self._asked = False

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: Any) -> None:
        self._asked = True

    def observe(self, sample: Sample) -> None:
        pass

    def finish(self, block: int) -> None:
        if any(gathered(self._asked)):
            raise Preempted(f"stopped by SIGTERM after block {block}; the same command goes on from there")
