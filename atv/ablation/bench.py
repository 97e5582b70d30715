"""What all cells of a run share: the dense model, the calibration data and the questions."""

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

# Default for the longest answer to a suite's question, in tokens. It is part of the ids of cells on disk, so it keeps
# this value although an evaluation uses a different one (atv.evaluation.questions.MAX_NEW_TOKENS).
MAX_NEW_TOKENS = 8


@dataclass(frozen=True)
class PromptSet:
    """Questions whose answers share one maximum length, in tokens.

    ``faults`` maps the id of a question that could not be asked to the reason, once that is known.
    """

    batches: Sequence[Prompts]
    max_new_tokens: int
    faults: dict[str, str] = field(default_factory=dict)


def prompt_sets_of(
    questions: Questions, model: PreTrainedModel, processor: ProcessorMixin, max_new_tokens: int | None = None
) -> list[PromptSet]:
    """Splits the questions by how long their answers may be: a suite is one set, each benchmark has its own.

    Raises:
        ValueError: for a benchmark none of whose questions can be asked.
    """
    one_at_a_time = read_alone(model, decoding=True)
    if isinstance(questions, Suite):
        batches = question_batches(processor, questions.rows, 1 if one_at_a_time else BATCH_SIZE, questions.groups)
        return [PromptSet(batches, max_new_tokens or MAX_NEW_TOKENS)]
    assert isinstance(questions, Benchmarks)
    batch_size = 1 if one_at_a_time else BENCHMARK_BATCH_SIZE
    return [_benchmark_prompt_set(loaded, processor, batch_size, max_new_tokens) for loaded in questions.loaded]


def _benchmark_prompt_set(
    loaded: LoadedBenchmark, processor: ProcessorMixin, batch_size: int, max_new_tokens: int | None
) -> PromptSet:
    require_askable(loaded, processor)
    faults: dict[str, str] = {}
    batches = loaded.batches(processor, batch_size, faults=faults)
    return PromptSet(batches, max_new_tokens or loaded.benchmark.max_new_tokens, faults)


@dataclass(frozen=True)
class CalibrationSamples:
    """The samples that a cell is calibrated on.

    Attributes:
        batches: the samples, with the vision tower's output in place of pixels if the model accepts it; no cell changes
            the vision tower.
        record: which samples they are.
        digest: identifies the samples, with their pictures as the processor made them.
    """

    batches: list[dict[str, Any]]
    record: dict[str, Any]
    digest: str


class Bench:
    """Holds what all cells of a run share, and encodes calibration samples when a cell first needs them.

    Args:
        model: the dense model, which no cell changes.
        prompt_sets: the questions that every cell is asked.
        samples: number of calibration samples of a cell that sets none.
        max_length: maximum length of a calibration sample in tokens; None for no limit.
        language: whether a cell that is asked questions also reads plain English.
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
        # A cell's model often differs from an earlier one's only in the values of its weights.
        self.built_alike: dict[Hashable, SharingTrial] = {}
        self._calibration_samples: dict[tuple[int, int, str, bool], CalibrationSamples] = {}
        self._benches_by_suite: dict[Suite, Bench] = {}

    def asking(self, prompt_sets: Sequence[PromptSet]) -> "Bench":
        """Returns a bench with the same model and calibration samples, but different questions."""
        # A new object, not a copy: the cached encodings of this bench's questions must not come along.
        settings = self.samples, self.max_length, self.language
        bench = Bench(self.model, self.processor, self.data, prompt_sets, *settings)
        bench._calibration_samples, bench._benches_by_suite, bench.built_alike = (
            self._calibration_samples,
            self._benches_by_suite,
            self.built_alike,
        )
        return bench

    def of(self, cell: Cell) -> "Bench":
        """Returns the bench that asks the cell's questions."""
        if cell.suite is None:
            return self
        if cell.suite not in self._benches_by_suite:
            self._benches_by_suite[cell.suite] = self.asking(prompt_sets_of(cell.suite, self.model, self.processor))
        return self._benches_by_suite[cell.suite]

    @property
    def questions(self) -> list[dict[str, Any]]:
        """All questions that are asked."""
        return [
            question for prompt_set in self.prompt_sets for batch in prompt_set.batches for question in batch.questions
        ]

    def calibration(
        self, samples: int | None, seed: int, data: CalibrationData | None = None, answers: bool = False
    ) -> CalibrationSamples:
        """Returns the samples that the seed draws from the run's data or from a cell's own.

        Args:
            answers: whether the samples also say which of their tokens are answers.

        Raises:
            ValueError: for more samples than there are, and for data that contain what the run asks.
        """
        source, count = self.data if data is None else data, self.samples if samples is None else samples
        cache_key = count, seed, repr(source.record()), answers
        if cache_key not in self._calibration_samples:
            source.check()
            refuse_overlap(source, self.questions)
            options: dict[str, Any] = {"max_length": self.max_length, "answers": answers}
            if read_alone(self.model):
                options["batch_size"] = 1
            drawn_batches = calibration_batches(self.processor, source, count, seed, **options)
            # Labels add nothing that would identify the samples, and are not an input of the vision tower.
            inputs = [{key: value for key, value in batch.items() if key != "labels"} for batch in drawn_batches]
            with torch.no_grad():
                encoded = [with_encoded_pictures(LVLM.of(self.model), batch) for batch in inputs]
            labels = [{"labels": batch["labels"]} if answers else {} for batch in drawn_batches]
            batches = [batch | label for batch, label in zip(encoded, labels, strict=True)]
            self._calibration_samples[cache_key] = CalibrationSamples(
                batches, drawn_batches.record, tensors_digest(inputs)
            )
        return self._calibration_samples[cache_key]

    def calibration_digest(self, cell: Cell) -> str:
        """Returns the digest that identifies the cell's calibration samples."""
        return self.calibration(cell.samples, cell.seed, cell.calibration).digest

    @cached_property
    def encoded_prompts(self) -> list[PromptSet]:
        """The questions, with pictures already encoded by the vision tower, which no cell changes.

        Batches that read their pictures only when they are asked stay as they are, because the features of many
        pictures would fill the memory.
        """
        return [replace(prompt_set, batches=self._encoded(prompt_set.batches)) for prompt_set in self.prompt_sets]

    def _encoded(self, batches: Sequence[Prompts]) -> Sequence[Prompts]:
        encoded = [batch for batch in batches if isinstance(batch, QuestionBatch)]
        return see_once(LVLM.of(self.model), encoded) if encoded else batches
