"""A scheduler's SIGTERM while questions are asked."""

import os
import signal

import pytest

from atv.data.sources import load_evaluation
from atv.evaluation.generation import predict
from atv.evaluation.questions import QuestionBatch, question_batches
from atv.model.loading import load_model, model_folder
from atv.runtime.preemption import Preempted
from atv.runtime.trainer import quiet_trainer


class Interrupting:
    """A batch in whose making the process is sent SIGTERM; counts how often it was asked for."""

    def __init__(self, batch: QuestionBatch, send: bool) -> None:
        self._batch, self._send, self.asked = batch, send, 0

    def askable(self):
        self.asked += 1
        if self._send:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._batch


def test_sigterm_ends_the_questions_after_the_batch_in_hand_and_restores_the_handler():
    model, processor = load_model(model_folder("bundled"))
    batches = question_batches(processor, load_evaluation("bundled", "dev", 1), batch_size=1, groups=1)[:4]
    asked = [Interrupting(batch, send=number == 1) for number, batch in enumerate(batches)]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="stopped by SIGTERM; nothing of it is kept"):
        predict(model, processor, asked, 2, quiet_trainer())
    # A loader may have the next batch ready.
    assert [each.asked for each in asked[:2]] == [1, 1] and asked[3].asked == 0
    assert signal.getsignal(signal.SIGTERM) is before
