"""One benchmark, asked and scored: resumable where it has a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from transformers import PreTrainedModel, ProcessorMixin

from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.generation import predict, scored
from atv.evaluation.metrics import GroupedScore
from atv.evaluation.predictions import KeepPredictions, Predictions, write_answers
from atv.evaluation.scores import TaskScore, category_scores, task_scores
from atv.plugins import resolve
from atv.records.digests import weights_digest
from atv.records.run_folder import RunFolder
from atv.runtime.ranks import gathered


@dataclass(frozen=True)
class BenchmarkResult:
    """A benchmark's answers (one row a question), its score, and what a result row says of both."""

    loaded: LoadedBenchmark
    answers: pd.DataFrame
    score: TaskScore

    @classmethod
    def of(cls, loaded: LoadedBenchmark, answers: pd.DataFrame) -> "BenchmarkResult":
        """Scores answered questions."""
        return cls(loaded, answers, task_scores(answers)[loaded.benchmark.name])

    def row(self) -> dict[str, Any]:
        """Score, counts, answers that could not be read, parts, categories, and what pins the benchmark."""
        value, maximum = self.loaded.benchmark.total(self.score.score)
        counts = {"right": self.score.right, "of": self.score.groups, "questions": self.score.questions}
        by_category = {
            name: {"score": score.score, "right": score.right, "of": score.groups}
            for name, score in category_scores(self.answers).items()
        }
        return (
            {"score": value, "maximum": maximum, **counts, "unread": int(self.answers["read"].isna().sum())}
            | {"parts": self._metric.parts(self.answers), "categories": by_category}
            | self.loaded.provenance()
        )

    @property
    def _metric(self) -> GroupedScore:
        return resolve(self.loaded.benchmark.metric, GroupedScore, "metric")


def ask_benchmark(
    loaded: LoadedBenchmark,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    trainer: L.Trainer,
    folder: Path | None = None,
    batch_size: int = 8,
    max_new_tokens: int | None = None,
) -> BenchmarkResult:
    """Asks what was not asked before, and scores all answers.

    Args:
        folder: where predictions are kept as they are made; the same call goes on from them.
        max_new_tokens: default: the benchmark's own.

    Raises:
        ValueError: when the folder holds another run: another model, version, length of answers or size of pictures.
    """
    benchmark = loaded.benchmark
    longest = max_new_tokens or benchmark.max_new_tokens
    before: dict[str, str] = {}
    callbacks = []
    if folder is not None:
        run, kept = RunFolder(folder, _identity(loaded, model, processor, longest)), Predictions(folder / "predictions")
        callbacks.append(KeepPredictions(kept))
        # The first rank's word counts: another may look when the first one has begun.
        before = gathered(kept.read())[0]
        if trainer.is_global_zero:
            run.begin()
    questions = {each.question["question_id"]: each.question for each in loaded.questions}
    predicted: list[tuple[Any, str]] = [(questions[name], text) for name, text in before.items() if name in questions]
    if batches := loaded.batches(processor, batch_size, before):
        predicted += predict(model, processor, batches, longest, trainer, *callbacks)
    result = BenchmarkResult.of(loaded, scored(predicted))
    if folder is not None and trainer.is_global_zero:
        write_answers(folder / "answers.jsonl", result.answers)
    return result


def _identity(
    loaded: LoadedBenchmark, model: PreTrainedModel, processor: ProcessorMixin, max_new_tokens: int
) -> dict[str, Any]:
    """What moves the answers: limits and batch sizes do not."""
    size = getattr(getattr(processor, "image_processor", None), "size", None)
    return {
        "benchmark": loaded.benchmark.name,
        **loaded.benchmark.provenance(),
        "model": weights_digest(model.named_parameters()),
        "max_new_tokens": max_new_tokens,
        "pictures": str(size),
    }
