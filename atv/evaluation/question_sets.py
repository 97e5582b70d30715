"""Question sets with their data: the bundled suite, or benchmarks. Each asks its questions and scores the answers."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import lightning as L
from datasets import Dataset
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from transformers import PreTrainedModel, ProcessorMixin

from atv.data.pixel_cap import cap_pixels
from atv.evaluation.benchmark_run import BenchmarkResult, ask_benchmark
from atv.evaluation.benchmarks.as_calibration import refuse_calibrated_on
from atv.evaluation.benchmarks.loaded import BENCHMARK_BATCH_SIZE, DenseAnswers, LoadedBenchmark, check_asked_alike
from atv.evaluation.generation import answer
from atv.evaluation.identity import asked_with
from atv.evaluation.picture_bounds import bound_pixels
from atv.evaluation.questions import BATCH_SIZE, MAX_NEW_TOKENS, first_groups, question_batches
from atv.evaluation.scores import retention, task_scores
from atv.plugins import at_least
from atv.records.digests import weights_digest
from atv.records.evaluation_report import EvaluationReport, TaskRow
from atv.records.files import atomic
from atv.records.provenance import provenance


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is asked.

    ``batch_size`` is the number of questions at once, ``max_new_tokens`` the maximum length of an answer (None: the
    questions' own). ``min_pixels`` and ``max_pixels`` limit a picture (None: the processor's limits, or the
    benchmark's). ``output`` is the folder for answers.

    Raises:
        ValueError: if the batch size or the length is below 1.
    """

    batch_size: int | None
    max_new_tokens: int | None
    min_pixels: int | None
    max_pixels: int | None
    trainer: L.Trainer
    output: Path | None

    def __post_init__(self) -> None:
        at_least(1, batch_size=self.batch_size, max_new_tokens=self.max_new_tokens)


class Questions(Protocol):
    """Questions that a model can be asked."""

    @property
    def source(self) -> dict[str, Any]:
        """Where to find the questions again: evaluation and split, or the data folder by benchmark (None: the hub)."""

    @property
    def origin(self) -> dict[str, Any]:
        """What the questions are, for a record of what was asked."""

    def ask(self, model: PreTrainedModel, processor: ProcessorMixin, settings: EvaluationSettings) -> EvaluationReport:
        """Asks all questions; the first rank writes the answers."""


@dataclass(frozen=True)
class Suite:
    """The bundled suite, or a data set with its columns: the first ``groups`` groups of each task in ``rows``."""

    rows: Dataset
    evaluation: str
    split: str
    groups: int | None = None

    @property
    def source(self) -> dict[str, Any]:
        return {"evaluation": self.evaluation, "split": self.split}

    @property
    def origin(self) -> dict[str, Any]:
        return self.source

    @property
    def size(self) -> int:
        """Number of groups of the task that has the fewest."""
        pairs = set(zip(self.rows["task"], self.rows["group"], strict=True))
        smallest = min(Counter(task for task, _ in pairs).values())
        return smallest if self.groups is None else min(smallest, self.groups)

    def group_range(self, start: int, end: int) -> "Suite":
        """Returns each task's groups from ``start`` up to, but not including, ``end``, counted from 0."""
        before_start, before_end = first_groups(self.rows, start), first_groups(self.rows, end)
        return replace(self, rows=self.rows.select(sorted(set(before_end) - set(before_start))), groups=None)

    def ask(self, model: PreTrainedModel, processor: ProcessorMixin, settings: EvaluationSettings) -> EvaluationReport:
        """Asks every question, and writes the answers to answers.parquet."""
        if model.name_or_path:
            refuse_calibrated_on(Path(model.name_or_path), self.evaluation, self.split)
        cap_pixels(processor, settings.min_pixels, settings.max_pixels)
        digest = _checked_digest(model, settings, None)
        batches = question_batches(processor, self.rows, settings.batch_size or BATCH_SIZE, self.groups)
        answer_length = settings.max_new_tokens or MAX_NEW_TOKENS
        answers = answer(model, processor, batches, answer_length, settings.trainer)
        if settings.output is not None and settings.trainer.is_global_zero:
            with atomic(settings.output / "answers.parquet") as path:
                answers.to_parquet(path, index=False)
        scores = task_scores(answers)
        tasks = {name: TaskRow(score.score, score.groups, score.questions) for name, score in scores.items()}
        asked = {
            "model": model.name_or_path,
            "model_digest": digest,
            "evaluation": self.evaluation,
            "split": self.split,
            "asked_with": asked_with(model, processor, answer_length, settings.trainer),
        }
        return EvaluationReport(asked, tasks=tasks, made=provenance())


@dataclass(frozen=True)
class Benchmarks:
    """Benchmarks with their data, and the dense model's answers by benchmark if retention is requested."""

    loaded: Sequence[LoadedBenchmark]
    data: Path | None = None
    limit: int | None = None
    dense: Mapping[str, DenseAnswers] | None = None

    @property
    def source(self) -> dict[str, Any]:
        return {"data": dict.fromkeys((loaded.benchmark.name for loaded in self.loaded), self._folder)}

    @property
    def origin(self) -> dict[str, Any]:
        provenances = {loaded.benchmark.name: loaded.provenance() for loaded in self.loaded}
        return {"benchmark": ",".join(provenances), "data": self._folder, "benchmarks": provenances}

    @property
    def _folder(self) -> str | None:
        return None if self.data is None else str(self.data)

    def ask(self, model: PreTrainedModel, processor: ProcessorMixin, settings: EvaluationSettings) -> EvaluationReport:
        """Asks each benchmark, and keeps its answers in a folder of its name as they are made.

        The limits on pictures apply to this call only: the caller's processor is not changed.
        """
        processor = copy.copy(processor)
        processor.image_processor = copy.copy(processor.image_processor)
        pixels = bound_pixels(processor, model.config.model_type, settings.min_pixels, settings.max_pixels)
        names = [loaded.benchmark.name for loaded in self.loaded]
        digest = _checked_digest(model, settings, names)
        asking_settings = {
            loaded.benchmark.name: asked_with(model, processor, _answer_length(loaded, settings), settings.trainer)
            for loaded in self.loaded
        }
        if self.dense is not None:
            check_asked_alike(self.dense, asking_settings)
        results = {
            loaded.benchmark.name: self._result(loaded, model, processor, settings, digest) for loaded in self.loaded
        }
        data_settings = {"data": self._folder, "limit": self.limit, "pixels": pixels}
        rows = {
            name: result.row()
            | data_settings
            | {"max_new_tokens": _answer_length(result.loaded, settings), "asked_with": asking_settings[name]}
            for name, result in results.items()
        }
        asked = {"model": model.name_or_path, "model_digest": digest} | data_settings
        return EvaluationReport(asked, benchmarks=rows, retention=self._retention(results), made=provenance())

    def _result(
        self,
        loaded: LoadedBenchmark,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        settings: EvaluationSettings,
        digest: str,
    ) -> BenchmarkResult:
        folder = None if settings.output is None else settings.output / loaded.benchmark.name
        batch_size = settings.batch_size or BENCHMARK_BATCH_SIZE
        return ask_benchmark(
            loaded, model, processor, settings.trainer, folder, batch_size, settings.max_new_tokens, digest
        )

    def _retention(self, results: Mapping[str, BenchmarkResult]) -> dict[str, dict[str, Any]]:
        if self.dense is None:
            return {}
        dense_scores = {name: task_scores(dense.answers)[name] for name, dense in self.dense.items()}
        if not any(score.score > 0 for score in dense_scores.values()):
            rank_zero_warn("retention: the dense model scores 0 on every benchmark, so there is nothing to keep")
            return {}
        retentions = retention(dense_scores, {name: result.score for name, result in results.items()})
        return {
            name: {"value": estimate.value, "low": estimate.low, "high": estimate.high}
            for name, estimate in retentions.items()
        }


def _answer_length(loaded: LoadedBenchmark, settings: EvaluationSettings) -> int:
    return settings.max_new_tokens or loaded.benchmark.max_new_tokens


def _checked_digest(
    model: PreTrainedModel, settings: EvaluationSettings, replaced_benchmarks: Sequence[str] | None
) -> str:
    """Returns the digest of the model's weights, after checking that its results may go into the output folder."""
    digest = weights_digest(model.named_parameters())
    if settings.output is not None:
        EvaluationReport.check_folder(settings.output, digest, replaced_benchmarks)
    return digest
