"""What every cell of a run shares: the dense model, what it is calibrated on and what it is asked."""

from functools import cached_property

from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin

from atv.data import CalibrationData
from atv.data.calibration import CalibrationBatches, calibration_batches
from atv.evaluation.questions import QuestionBatch, question_batches, see_once
from atv.fingerprint import tensors_digest
from atv.lvlm import LVLM


class Bench:
    """Encodes calibration samples when a cell first asks for them, and every question once.

    Args:
        model: the dense model, changed by no cell.
        samples: calibration samples of a cell that names no number.
        groups: only the first so many groups of questions of each task; None for all.
        max_new_tokens: longest answer.
        max_length: longest calibration sample in tokens; None for any.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        calibration: CalibrationData,
        evaluation: Dataset,
        samples: int,
        groups: int | None,
        max_new_tokens: int,
        max_length: int | None = None,
    ) -> None:
        self.model, self.processor, self.max_new_tokens = model, processor, max_new_tokens
        self.samples, self.max_length = samples, max_length
        self.questions = question_batches(processor, evaluation, groups=groups)
        self._pool = calibration
        self._batches: dict[tuple[int, int], CalibrationBatches] = {}

    def calibration(self, samples: int | None, seed: int) -> CalibrationBatches:
        """The encoded samples that the seed draws.

        Raises:
            ValueError: for more samples than there are.
        """
        drawn = self.samples if samples is None else samples, seed
        if drawn not in self._batches:
            self._batches[drawn] = calibration_batches(self.processor, self._pool, *drawn, max_length=self.max_length)
        return self._batches[drawn]

    def calibration_digest(self, samples: int | None, seed: int) -> str:
        """By which the samples are known again."""
        return tensors_digest(self.calibration(samples, seed))

    @cached_property
    def seen(self) -> list[QuestionBatch]:
        """The questions behind the vision tower, which no cell changes."""
        return see_once(LVLM.of(self.model), self.questions)
