"""What a stop between batches does, and which batches are left of a run that was stopped."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
from torch.utils.data import Sampler

NOTHING = "nothing of it is kept, the same command begins anew"


class Preempted(BaseException):
    """The run was asked to stop and did; the message says what is kept.

    No Exception, as KeyboardInterrupt is none: a loop over runs that reports which failed, and goes on with the next,
    ends as well.
    """


class Sigterm:
    """Whether this rank was sent SIGTERM while its trainer ran.

    Lightning's own handler speaks to the other ranks from within the signal, in the middle of their collectives; this
    one takes its place until Lightning restores the original.
    """

    received = False

    def listen(self) -> None:
        """To be called once Lightning has set its handlers."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: Any) -> None:
        self.received = True


class StopBetweenBatches(L.Callback):
    """Ends a prediction loop after the batch in hand; Lightning's own loop notes SIGTERM and goes on to the end.

    Args:
        kept: what is left of the run, for the message.
    """

    def __init__(self, kept: str = NOTHING) -> None:
        self.kept, self._sigterm = kept, Sigterm()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sigterm.listen()

    def on_predict_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._sigterm.received:
            raise Preempted(f"stopped by SIGTERM; {self.kept}")


class Remaining(Sampler[int]):
    """This rank's batches from the first that was not trained on.

    Args:
        batches: of all ranks, a multiple of their number.
        done: how many this rank has had, asked for when training starts.
    """

    def __init__(self, batches: int, rank: int, ranks: int, done: Callable[[], int]) -> None:
        self.mine, self.done = range(rank, batches, ranks), done

    def __len__(self) -> int:
        return len(self.mine)

    def __iter__(self) -> Iterator[int]:
        return iter(self.mine[self.done() :])
