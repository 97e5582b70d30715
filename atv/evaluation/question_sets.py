"""What a model can be asked, with the data at hand: the bundled suite, or benchmarks. Each asks and scores."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning as L
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin

from atv.data.pixel_cap import cap_pixels
from atv.evaluation.benchmark_run import BenchmarkResult, ask_benchmark
from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.generation import answer
from atv.evaluation.picture_size import pin_pixels
from atv.evaluation.questions import BATCH_SIZE, question_batches
from atv.evaluation.scores import retention, task_scores
from atv.records.evaluation_report import EvaluationReport, TaskRow
from atv.records.files import atomic
from atv.records.provenance import provenance


class Asking(NamedTuple):
    """How a model is asked: questions at once, longest answer in tokens (None: the questions' own), least and most
    pixels of a picture (None: the processor's, or the benchmark's), the trainer, and the folder for answers."""

    batch_size: int | None
    max_new_tokens: int | None
    min_pixels: int | None
    max_pixels: int | None
    trainer: L.Trainer
    output: Path | None


class Questions(Protocol):
    """Questions that a model can be asked."""

    def ask(self, model: PreTrainedModel, processor: ProcessorMixin, how: Asking) -> EvaluationReport:
        """Asks all of them; writes the answers, on the first rank."""


@dataclass(frozen=True)
class Suite:
    """The bundled suite, or a data set with its columns: ``rows``, of each task the first ``groups`` groups."""

    rows: Dataset
    evaluation: str
    split: str
    groups: int | None = None

    def ask(self, model: PreTrainedModel, processor: ProcessorMixin, how: Asking) -> EvaluationReport:
        """Asks every question; answers go to answers.parquet."""
        cap_pixels(processor, how.min_pixels, how.max_pixels)
        batches = question_batches(processor, self.rows, how.batch_size or BATCH_SIZE, self.groups)
        answers = answer(model, processor, batches, how.max_new_tokens or 16, how.trainer)
        if how.output is not None and how.trainer.is_global_zero:
            with atomic(how.output / "answers.parquet") as path:
                answers.to_parquet(path, index=False)
        scores = task_scores(answers)
        tasks = {name: TaskRow(score.score, score.groups, score.questions) for name, score in scores.items()}
        asked = {"model": model.name_or_path, "evaluation": self.evaluation, "split": self.split}
        return EvaluationReport(asked, tasks=tasks, made=provenance())


@dataclass(frozen=True)
class Benchmarks:
    """Benchmarks with their data, and the dense model's answers by benchmark where retention is asked for."""

    loaded: Sequence[LoadedBenchmark]
    data: Path | None = None
    limit: int | None = None
    dense: Mapping[str, pd.DataFrame] | None = None

    def ask(self, model: PreTrainedModel, processor: ProcessorMixin, how: Asking) -> EvaluationReport:
        """Asks each; a benchmark's answers are kept in a folder of its name as they are made."""
        pixels = self._pixels(model, processor, how)
        results = {each.benchmark.name: self._result(each, model, processor, how) for each in self.loaded}
        rows = {name: result.row() | {"max_new_tokens": _length(result, how)} for name, result in results.items()}
        data = None if self.data is None else str(self.data)
        asked = {"model": model.name_or_path, "data": data, "limit": self.limit, "pixels": pixels}
        return EvaluationReport(asked, benchmarks=rows, retention=self._retention(results), made=provenance())

    def _pixels(
        self, model: PreTrainedModel, processor: ProcessorMixin, how: Asking
    ) -> Mapping[str, int | None] | None:
        """What was asked for, or else what published scores were made with."""
        if how.min_pixels is None and how.max_pixels is None:
            return pin_pixels(processor, model.config.model_type)
        cap_pixels(processor, how.min_pixels, how.max_pixels)
        return {"min_pixels": how.min_pixels, "max_pixels": how.max_pixels}

    def _result(
        self, each: LoadedBenchmark, model: PreTrainedModel, processor: ProcessorMixin, how: Asking
    ) -> BenchmarkResult:
        folder = None if how.output is None else how.output / each.benchmark.name
        return ask_benchmark(each, model, processor, how.trainer, folder, how.batch_size or 8, how.max_new_tokens)

    def _retention(self, results: Mapping[str, BenchmarkResult]) -> dict[str, dict[str, Any]]:
        if self.dense is None:
            return {}
        before = {name: task_scores(answers)[name] for name, answers in self.dense.items()}
        kept = retention(before, {name: result.score for name, result in results.items()})
        return {name: asdict(estimate) for name, estimate in kept.items()}


def _length(result: BenchmarkResult, how: Asking) -> int:
    return how.max_new_tokens or result.loaded.benchmark.max_new_tokens
