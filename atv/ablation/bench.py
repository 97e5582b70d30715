"""What every cell of a run shares: the dense model, what it is calibrated on and what it is asked."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin

from atv.data.conversations import calibration_batches
from atv.evaluation.questions import QuestionBatch, question_batches, see_once
from atv.fingerprint import tensors_digest
from atv.lvlm import LVLM

Batches = Sequence[Mapping[str, Any]]


class Bench:
    """Encodes calibration samples when a cell first asks for them, and every question once.

    Args:
        model: the dense model, changed by no cell.
        samples: calibration samples of a cell that names no number.
        groups: only the first so many groups of questions of each task; None for all.
        max_new_tokens: longest answer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        calibration: Dataset,
        evaluation: Dataset,
        samples: int,
        groups: int | None,
        max_new_tokens: int,
    ) -> None:
        self.model, self.processor, self.max_new_tokens = model, processor, max_new_tokens
        self.samples = samples
        self.questions = question_batches(processor, evaluation, groups=groups)
        self._pool = calibration
        self._batches: dict[tuple[int, int], Batches] = {}

    def calibration(self, samples: int | None, seed: int) -> Batches:
        """The encoded samples that the seed draws.

        Raises:
            ValueError: for more samples than there are.
        """
        drawn = self.samples if samples is None else samples, seed
        if drawn not in self._batches:
            self._batches[drawn] = calibration_batches(self.processor, self._pool, *drawn)
        return self._batches[drawn]

    def calibration_digest(self, samples: int | None, seed: int) -> str:
        """By which the samples are known again."""
        return tensors_digest(self.calibration(samples, seed))

    @cached_property
    def seen(self) -> list[QuestionBatch]:
        """The questions behind the vision tower, which no cell changes."""
        return see_once(LVLM.of(self.model), self.questions)
