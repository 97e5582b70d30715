"""Stopping a run between batches on SIGTERM, and the batches that remain when it resumes."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
from torch.utils.data import Sampler

NOTHING = "no progress was saved, the same command starts over"


class Preempted(BaseException):
    """Raised when a run has stopped on request; the message says what is kept.

    Like KeyboardInterrupt, it is not an Exception, so that it also ends a loop over runs that reports failed ones and
    continues with the next.
    """


class Sigterm:
    """Records whether this rank received SIGTERM while its trainer ran.

    Lightning's own handler communicates with the other ranks from within the signal, in the middle of their
    collectives. This handler replaces it until Lightning restores the original.
    """

    received = False

    def listen(self) -> None:
        """Installs the handler; call it after Lightning has set its own."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._record_signal)

    def _record_signal(self, *_: Any) -> None:
        self.received = True


class StopBetweenBatches(L.Callback):
    """Ends a prediction loop after the current batch on SIGTERM, which Lightning's own loop notes but does not obey.

    Args:
        kept: what is kept of the run, for the message.
    """

    def __init__(self, kept_note: str = NOTHING) -> None:
        self.kept_note, self._sigterm = kept_note, Sigterm()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sigterm.listen()

    def on_predict_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._sigterm.received:
            raise Preempted(f"stopped by SIGTERM; {self.kept_note}")


class Remaining(Sampler[int]):
    """Samples this rank's remaining batches, from the first that was not trained on.

    Args:
        batches: number of batches of all ranks, a multiple of the number of ranks.
        done: returns how many batches this rank has finished; called when training starts.
    """

    def __init__(self, batches: int, rank: int, ranks: int, finished_count: Callable[[], int]) -> None:
        self.batch_indices, self.finished_count = range(rank, batches, ranks), finished_count

    def __len__(self) -> int:
        return len(self.batch_indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.batch_indices[self.finished_count() :])
