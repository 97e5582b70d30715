"""One benchmark, asked and scored: resumable where it has a folder."""

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
from atv.evaluation.generation import predict, scored
from atv.evaluation.identity import answering
from atv.evaluation.metrics import GroupedScore
from atv.evaluation.predictions import KeepPredictions, Prediction, Predictions
from atv.evaluation.scores import TaskScore, category_scores, task_scores
from atv.plugins import resolve
from atv.records.digests import weights_digest
from atv.records.run_folder import RunFolder
from atv.runtime.preemption import NOTHING
from atv.runtime.ranks import gathered
from atv.runtime.trainer import precision

# Questions that are tried before the first is asked, and faults that are printed one by one.
TRIED = 8


@dataclass(frozen=True)
class BenchmarkResult:
    """A benchmark's answers (one row a question), its score, and what a result row says of both.

    ``starts``: what the runs that asked were made with, alike ones once.
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
        """Score, counts, answers that could not be read, questions that could not be asked, parts, categories, what
        pins the benchmark, and the starts where they differ."""
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
    """Asks what was not asked before, and scores all answers.

    Args:
        folder: where predictions are kept as they are made; the same call goes on from them.
        max_new_tokens: default: the benchmark's own.
        digest: of the model's weights, from before any trainer cast them; default: taken now.

    Raises:
        ValueError: when the folder holds another run: another model, version, precision or length of answers, other
            questions or pictures behind the same ids, another chat template, processor or generation config; when no
            question can be asked. A question that cannot be, among others, is named and counts as wrong.
    """
    benchmark = loaded.benchmark
    longest = max_new_tokens or benchmark.max_new_tokens
    questions = {each.question["question_id"]: each.question for each in loaded.questions}
    before: dict[str, Prediction] = {}
    callbacks = []
    if folder is not None:
        weights = digest or weights_digest(model.named_parameters())
        run = RunFolder(folder, _identity(loaded, weights, longest, answering(model, processor) | precision(trainer)))
        made = Predictions(folder / "predictions")
        callbacks.append(KeepPredictions(made))
        made.check_seen(questions)
        # The first rank's word counts: another may look when the first one has begun.
        before = gathered(made.read())[0]
        if trainer.is_global_zero:
            run.begin()
    known = {name: each for name, each in before.items() if name in questions}
    predicted: list[tuple[Any, str]] = [
        (questions[name] | {"ended": each.ended}, each.text) for name, each in known.items()
    ]
    faults: dict[str, str] = {}
    if batches := loaded.batches(processor, batch_size, before, faults):
        if not known:
            require_askable(loaded, processor)
        kept = "answers so far are kept, the same command goes on" if folder is not None else NOTHING
        predicted += predict(model, processor, batches, longest, trainer, *callbacks, kept=kept)
    found = {name: why for of_rank in gathered(faults) for name, why in of_rank.items()}
    predicted += not_asked(questions, found)
    if trainer.is_global_zero:
        tell_faults(benchmark.name, found)
    result = BenchmarkResult.of(loaded, scored(predicted), () if folder is None else made.starts())
    if folder is not None and trainer.is_global_zero:
        write_answers(folder / "answers.jsonl", result.answers)
    return result


def require_askable(loaded: LoadedBenchmark, processor: ProcessorMixin) -> None:
    """Checks, before any is asked, that questions from all of them are not all refused by template or processor.

    Raises:
        ValueError: naming the benchmark, one of the questions, and why it cannot be asked.
    """
    faults: dict[str, str] = {}
    batches = loaded.batches(processor, 1, faults=faults)
    # Those that come one after the other may share a picture.
    for batch in batches[:: max(1, len(batches) // TRIED)]:
        if batch.askable() is not None:
            return
    name, why = next(iter(faults.items()))
    raise ValueError(f"{loaded.benchmark.name}: no question can be asked; one of them, {name!r}: {why}")


def not_asked(
    questions: Mapping[str, Mapping[str, Any]], faults: Mapping[str, str]
) -> list[tuple[dict[str, Any], str]]:
    """Questions that could not be asked, by id, with an empty answer and their ``fault``, for which they are wrong."""
    return [({**questions[name], "ended": None, "fault": why}, "") for name, why in sorted(faults.items())]


def tell_faults(benchmark: str, faults: Mapping[str, str]) -> None:
    """Prints which questions could not be asked, the first by name."""
    console = Console(stderr=True)
    for name, why in list(faults.items())[:TRIED]:
        said = f"{benchmark}: question {name!r} cannot be asked ({why}); it counts as wrong"
        console.print(said, markup=False, soft_wrap=True)
    if len(faults) > TRIED:
        console.print(f"{benchmark}: {len(faults)} questions in all cannot be asked and count as wrong", markup=False)


def _identity(loaded: LoadedBenchmark, weights: str, max_new_tokens: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """What moves the answers, the digest of the weights among it: limits and batch sizes do not."""
    return {
        "benchmark": loaded.benchmark.name,
        **loaded.benchmark.provenance(),
        "model": weights,
        "max_new_tokens": max_new_tokens,
        **how,
    }
