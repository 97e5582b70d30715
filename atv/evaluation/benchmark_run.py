"""Asks and scores one benchmark; the run can be resumed if it has a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from rich.console import Console
from transformers import PreTrainedModel, ProcessorMixin

from atv.evaluation.answer_tables import write_answers
from atv.evaluation.benchmarks.loaded import BENCHMARK_BATCH_SIZE, LoadedBenchmark
from atv.evaluation.generation import predict, scored_answers
from atv.evaluation.identity import answer_settings
from atv.evaluation.metrics import GroupedScore
from atv.evaluation.predictions import KeepPredictions, Prediction, Predictions
from atv.evaluation.scores import TaskScore, category_scores, task_scores
from atv.plugins import resolve
from atv.records.digests import weights_digest
from atv.records.run_folder import RunFolder
from atv.runtime.preemption import NOTHING
from atv.runtime.ranks import gathered
from atv.runtime.trainer import precision

# Number of questions that are tried before the first is asked, and of faults that are printed one by one.
TRIED = 8


@dataclass(frozen=True)
class BenchmarkResult:
    """A benchmark's answers (one row per question), its score, and its result row.

    ``starts`` says what the runs that asked were made with, each distinct one once.
    """

    loaded: LoadedBenchmark
    answers: pd.DataFrame
    score: TaskScore
    starts: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(
        cls, loaded: LoadedBenchmark, answers: pd.DataFrame, starts: Sequence[Mapping[str, Any]] = ()
    ) -> "BenchmarkResult":
        """Scores answered questions."""
        return cls(loaded, answers, task_scores(answers)[loaded.benchmark.name], starts)

    def row(self) -> dict[str, Any]:
        """Returns the result row.

        It has the score, counts, the number of unreadable answers, questions that could not be asked, parts,
        categories, what pins the benchmark, and the starts if they differ.
        """
        metric = resolve(self.loaded.benchmark.metric, GroupedScore, "metric")
        value, maximum = self.loaded.benchmark.total(self.score.score)
        counts = {"right": self.score.right, "of": self.score.groups, "questions": self.score.questions}
        by_category = {
            name: {"score": score.score, "right": score.right, "of": score.groups}
            for name, score in category_scores(self.answers).items()
        }
        return (
            {"score": value, "maximum": maximum, **counts, "unread": int(self.answers["read"].isna().sum())}
            | {"faulty": self._faulty(), "parts": metric.parts(self.answers), "categories": by_category}
            | self.loaded.provenance()
            | ({"starts": list(self.starts)} if len(self.starts) > 1 else {})
        )

    def _faulty(self) -> list[dict[str, str]]:
        if "fault" not in self.answers:
            return []
        faulty = self.answers[self.answers["fault"].notna()]
        return [{"question_id": row["question_id"], "reason": row["fault"]} for row in faulty.to_dict("records")]


def ask_benchmark(
    loaded: LoadedBenchmark,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    trainer: L.Trainer,
    folder: Path | None = None,
    batch_size: int = BENCHMARK_BATCH_SIZE,
    max_new_tokens: int | None = None,
    digest: str | None = None,
) -> BenchmarkResult:
    """Asks the questions that were not asked before, and scores all answers.

    If only some questions cannot be asked, they are named and count as wrong.

    Args:
        folder: where predictions are kept as they are made; the same call resumes from them.
        max_new_tokens: maximum length of an answer, in tokens; default: the benchmark's own.
        digest: digest of the model's weights from before any trainer cast them; default: computed now.

    Raises:
        ValueError: if the folder holds a different run (another model, version, precision or answer length, different
            questions or pictures behind the same ids, another chat template, processor or generation config), or if no
            question can be asked.
    """
    benchmark = loaded.benchmark
    answer_length = max_new_tokens or benchmark.max_new_tokens
    questions = {record.question["question_id"]: record.question for record in loaded.questions}
    earlier: dict[str, Prediction] = {}
    callbacks = []
    if folder is not None:
        weights = digest or weights_digest(model.named_parameters())
        run = RunFolder(
            folder, _identity(loaded, weights, answer_length, answer_settings(model, processor) | precision(trainer))
        )
        predictions = Predictions(folder / "predictions")
        callbacks.append(KeepPredictions(predictions))
        predictions.check_seen(questions)
        # What the first rank reads counts: another rank may read after the first one has begun to write.
        earlier = gathered(predictions.read())[0]
        if trainer.is_global_zero:
            run.begin()
    already_answered = {question_id: record for question_id, record in earlier.items() if question_id in questions}
    predicted: list[tuple[Any, str]] = [
        (questions[question_id] | {"ended": record.ended}, record.text)
        for question_id, record in already_answered.items()
    ]
    faults: dict[str, str] = {}
    if batches := loaded.batches(processor, batch_size, earlier, faults):
        if not already_answered:
            require_askable(loaded, processor)
        kept_note = "answers so far are kept; the same command resumes from them" if folder is not None else NOTHING
        predicted += predict(model, processor, batches, answer_length, trainer, *callbacks, kept_note=kept_note)
    all_faults = {question_id: fault for rank_faults in gathered(faults) for question_id, fault in rank_faults.items()}
    predicted += not_asked(questions, all_faults)
    if trainer.is_global_zero:
        tell_faults(benchmark.name, all_faults)
    result = BenchmarkResult.of(loaded, scored_answers(predicted), () if folder is None else predictions.starts())
    if folder is not None and trainer.is_global_zero:
        write_answers(folder / "answers.jsonl", result.answers)
    return result


def require_askable(loaded: LoadedBenchmark, processor: ProcessorMixin) -> None:
    """Checks on a sample of the questions, before any is asked, that template and processor do not reject all of it.

    Raises:
        ValueError: naming the benchmark, one of the questions, and why it cannot be asked.
    """
    faults: dict[str, str] = {}
    batches = loaded.batches(processor, 1, faults=faults)
    # Consecutive questions may share a picture.
    for batch in batches[:: max(1, len(batches) // TRIED)]:
        if batch.askable() is not None:
            return
    question_id, fault = next(iter(faults.items()))
    raise ValueError(f"{loaded.benchmark.name}: no question can be asked, for example {question_id!r}: {fault}")


def not_asked(
    questions: Mapping[str, Mapping[str, Any]], faults: Mapping[str, str]
) -> list[tuple[dict[str, Any], str]]:
    """Returns the questions that could not be asked, by id: each has an empty answer and a ``fault``, and is wrong."""
    return [
        ({**questions[question_id], "ended": None, "fault": fault}, "") for question_id, fault in sorted(faults.items())
    ]


def tell_faults(benchmark: str, faults: Mapping[str, str]) -> None:
    """Prints which questions could not be asked, and names the first ones."""
    console = Console(stderr=True)
    for question_id, fault in list(faults.items())[:TRIED]:
        message = f"{benchmark}: question {question_id!r} cannot be asked ({fault}); it counts as wrong"
        console.print(message, markup=False, soft_wrap=True)
    if len(faults) > TRIED:
        console.print(f"{benchmark}: {len(faults)} questions in total cannot be asked and count as wrong", markup=False)


def _identity(
    loaded: LoadedBenchmark, weights: str, max_new_tokens: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what affects the answers, including the digest of the weights; limits and batch sizes do not."""
    return {
        "benchmark": loaded.benchmark.name,
        **loaded.benchmark.provenance(),
        "model": weights,
        "max_new_tokens": max_new_tokens,
        **settings,
    }
