"""What a scheduler's SIGTERM does to a command."""

from typing import Any

import lightning as L


class Preempted(Exception):
    """The run was asked to stop and did; what it had finished is kept."""


class StopBetweenBatches(L.Callback):
    """Ends a prediction loop after the batch in hand; Lightning's own loop notes SIGTERM and goes on to the end."""

    def on_predict_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.received_sigterm:
            raise Preempted("stopped by SIGTERM; what was finished is kept, the same command goes on")
