"""What every cell of a run shares: the dense model, what it is calibrated on and what it is asked."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin

from atv.ablation.cell import Cell
from atv.data import CalibrationData
from atv.data.calibration_batches import calibration_batches
from atv.evaluation.benchmark_run import require_askable
from atv.evaluation.benchmarks.as_calibration import refuse_overlap
from atv.evaluation.benchmarks.loaded import BENCHMARK_BATCH_SIZE, LoadedBenchmark
from atv.evaluation.encoded_pictures import with_encoded_pictures
from atv.evaluation.question_sets import Benchmarks, Questions, Suite
from atv.evaluation.questions import BATCH_SIZE, Prompts, QuestionBatch, question_batches, see_once
from atv.evaluation.sharing import SharingTrial
from atv.model.lvlm import LVLM
from atv.model.positions import read_alone
from atv.records.digests import tensors_digest

# Tokens of the longest answer to a suite's question where none is named. Part of the ids of cells on disk, so it stays
# other than what an evaluation allows (atv.evaluation.questions.MAX_NEW_TOKENS).
MAX_NEW_TOKENS = 8


@dataclass(frozen=True)
class PromptSet:
    """Questions whose answers may have the same length, in tokens; ``faults`` says why one could not be asked, by its
    id, once that is known."""

    batches: Sequence[Prompts]
    max_new_tokens: int
    faults: dict[str, str] = field(default_factory=dict)


def prompt_sets_of(
    asked: Questions, model: PreTrainedModel, processor: ProcessorMixin, max_new_tokens: int | None = None
) -> list[PromptSet]:
    """The questions, parted by how long their answers may be: a suite is one set, each benchmark has its own.

    Raises:
        ValueError: for a benchmark of which no question can be asked.
    """
    alone = read_alone(model, decoding=True)
    if isinstance(asked, Suite):
        batches = question_batches(processor, asked.rows, 1 if alone else BATCH_SIZE, asked.groups)
        return [PromptSet(batches, max_new_tokens or MAX_NEW_TOKENS)]
    assert isinstance(asked, Benchmarks)
    size = 1 if alone else BENCHMARK_BATCH_SIZE
    return [_of_benchmark(each, processor, size, max_new_tokens) for each in asked.loaded]


def _of_benchmark(
    loaded: LoadedBenchmark, processor: ProcessorMixin, batch_size: int, max_new_tokens: int | None
) -> PromptSet:
    require_askable(loaded, processor)
    faults: dict[str, str] = {}
    batches = loaded.batches(processor, batch_size, faults=faults)
    return PromptSet(batches, max_new_tokens or loaded.benchmark.max_new_tokens, faults)


@dataclass(frozen=True)
class CalibrationSamples:
    """What a cell is calibrated on.

    Attributes:
        batches: behind the vision tower, which no cell changes, where the model takes its output.
        record: which samples they are.
        digest: what identifies them, their pictures as the processor made them.
    """

    batches: list[dict[str, Any]]
    record: dict[str, Any]
    digest: str


class Bench:
    """Encodes calibration samples when a cell first asks for them.

    Args:
        model: the dense model, changed by no cell.
        prompt_sets: what every cell is asked.
        samples: calibration samples of a cell that names no number.
        max_length: longest calibration sample in tokens; None for any.
        language: whether a cell that is asked reads plain English, too.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        calibration: CalibrationData,
        prompt_sets: Sequence[PromptSet],
        samples: int,
        max_length: int | None = None,
        language: bool = False,
    ) -> None:
        self.model, self.processor, self.prompt_sets = model, processor, prompt_sets
        self.samples, self.max_length, self.language = samples, max_length, language
        self.data = calibration
        # A cell's model often differs from an earlier one's in its weights' values alone.
        self.built_alike: dict[Hashable, SharingTrial] = {}
        self._drawn: dict[tuple[int, int, str, bool], CalibrationSamples] = {}
        self._by_suite: dict[Suite, Bench] = {}

    def asking(self, prompt_sets: Sequence[PromptSet]) -> "Bench":
        """The same model and calibration samples with other questions."""
        # Made anew, not copied: what was encoded of this one's questions must not come along.
        settings = self.samples, self.max_length, self.language
        other = Bench(self.model, self.processor, self.data, prompt_sets, *settings)
        other._drawn, other._by_suite, other.built_alike = self._drawn, self._by_suite, self.built_alike
        return other

    def of(self, cell: Cell) -> "Bench":
        """The bench that asks what the cell is asked."""
        if cell.suite is None:
            return self
        if cell.suite not in self._by_suite:
            self._by_suite[cell.suite] = self.asking(prompt_sets_of(cell.suite, self.model, self.processor))
        return self._by_suite[cell.suite]

    @property
    def questions(self) -> list[dict[str, Any]]:
        """All that is asked."""
        return [question for each in self.prompt_sets for batch in each.batches for question in batch.questions]

    def calibration(
        self, samples: int | None, seed: int, data: CalibrationData | None = None, answers: bool = False
    ) -> CalibrationSamples:
        """The samples that the seed draws, from the run's data or a cell's own.

        Args:
            answers: whether the samples say which of their tokens are answers, too.

        Raises:
            ValueError: for more samples than there are, and data that hold what the run asks.
        """
        pool, count = self.data if data is None else data, self.samples if samples is None else samples
        drawn = count, seed, repr(pool.record()), answers
        if drawn not in self._drawn:
            pool.check()
            refuse_overlap(pool, self.questions)
            kept: dict[str, Any] = {"max_length": self.max_length, "answers": answers}
            if read_alone(self.model):
                kept["batch_size"] = 1
            made = calibration_batches(self.processor, pool, count, seed, **kept)
            # Labels say nothing of the samples that the samples do not say, and are no input of the vision tower.
            inputs = [{key: value for key, value in batch.items() if key != "labels"} for batch in made]
            with torch.no_grad():
                seen = [with_encoded_pictures(LVLM.of(self.model), batch) for batch in inputs]
            labels = [{"labels": batch["labels"]} if answers else {} for batch in made]
            batches = [batch | own for batch, own in zip(seen, labels, strict=True)]
            self._drawn[drawn] = CalibrationSamples(batches, made.record, tensors_digest(inputs))
        return self._drawn[drawn]

    def calibration_digest(self, cell: Cell) -> str:
        """The digest that identifies the cell's samples."""
        return self.calibration(cell.samples, cell.seed, cell.calibration).digest

    @cached_property
    def encoded_prompts(self) -> list[PromptSet]:
        """What is asked, behind the vision tower, which no cell changes; batches that read their pictures when they are
        asked stay as they are, for the features of many pictures would fill the memory."""
        return [replace(each, batches=self._encoded(each.batches)) for each in self.prompt_sets]

    def _encoded(self, batches: Sequence[Prompts]) -> Sequence[Prompts]:
        encoded = [batch for batch in batches if isinstance(batch, QuestionBatch)]
        return see_once(LVLM.of(self.model), encoded) if encoded else batches
