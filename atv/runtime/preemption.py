"""What a scheduler's SIGTERM does to a command."""

from typing import Any

import lightning as L

NOTHING = "nothing of it is kept, the same command begins anew"


class Preempted(BaseException):
    """The run was asked to stop and did; the message says what is kept.

    No Exception, as KeyboardInterrupt is none: a loop over runs that reports which failed, and goes on with the next,
    ends as well.
    """


class StopBetweenBatches(L.Callback):
    """Ends a prediction loop after the batch in hand; Lightning's own loop notes SIGTERM and goes on to the end.

    Args:
        kept: what is left of the run, for the message.
    """

    def __init__(self, kept: str = NOTHING) -> None:
        self.kept = kept

    def on_predict_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.received_sigterm:
            raise Preempted(f"stopped by SIGTERM; {self.kept}")
