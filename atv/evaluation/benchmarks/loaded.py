"""Loads named benchmarks with their data and its origin, and the dense model's answers to them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from datasets import Dataset
from transformers import ProcessorMixin

from atv.evaluation.answer_tables import read_answers
from atv.evaluation.benchmarks import NINE, Benchmark
from atv.evaluation.benchmarks.asked import BenchmarkBatch, QuestionRow, digest, question_rows
from atv.evaluation.benchmarks.row_pictures import faulty_pictures
from atv.evaluation.benchmarks.source import Folder, Hub
from atv.plugins import resolve
from atv.records.evaluation_report import SCORES, EvaluationReport
from atv.records.run_folder import differences, plain

ALL = "all"
# Questions answered at once if no number is given; a suite has its own (atv.evaluation.questions.BATCH_SIZE).
BENCHMARK_BATCH_SIZE = 8


@dataclass(frozen=True)
class LoadedBenchmark:
    """The rows of a benchmark, and the questions that are made from them."""

    benchmark: Benchmark
    rows: Dataset
    questions: Sequence[QuestionRow]
    revision: str
    root: Path | None = None

    def batches(
        self,
        processor: ProcessorMixin,
        batch_size: int = BENCHMARK_BATCH_SIZE,
        without: Collection[str] = (),
        faults: dict[str, str] | None = None,
    ) -> list[BenchmarkBatch]:
        """Batches questions of similar length for ``answer``, to limit padding; leaves out those in ``without``.

        Args:
            faults: receives the ids of questions that turn out not to be askable, with the reasons.
        """
        faults = {} if faults is None else faults
        remaining = [entry for entry in self.questions if entry.question["question_id"] not in without]
        remaining.sort(key=lambda entry: (len(entry.question["question"].split()), entry.question["question_id"]))
        chunks = [tuple(remaining[start : start + batch_size]) for start in range(0, len(remaining), batch_size)]
        return [BenchmarkBatch(self.benchmark, self.rows, chunk, processor, self.root, faults) for chunk in chunks]

    def require_pictures(self) -> None:
        """Checks the headers of the questions' pictures, before any question is asked.

        Raises:
            ValueError: naming the first question whose picture is missing or broken, and how many there are.
        """
        benchmark, id_by_row = self.benchmark, {entry.index: entry.question["question_id"] for entry in self.questions}
        faulty = list(
            faulty_pictures(self.rows, benchmark.picture_columns, id_by_row, self.root, benchmark.needs_picture)
        )
        if faulty:
            index, fault = faulty[0]
            raise ValueError(
                f"{benchmark.name}: the picture of question {id_by_row[index]!r} is broken: {fault} "
                f"({len(faulty)} of {len(id_by_row)} questions have such pictures)"
            )

    def provenance(self) -> dict[str, Any]:
        """Returns version, hub id, configuration, split, revision and digest of the questions."""
        return self.benchmark.provenance() | {"revision": self.revision, "digest": digest(self.questions)}


def load_benchmark(name: str | Benchmark, data: Path | None = None, limit: int | None = None) -> LoadedBenchmark:
    """Loads a benchmark with its data, from the hub or a local copy.

    Args:
        name: class name, dotted path, or an instance.
        data: folder of the data set, or of several named after the benchmarks; None downloads it from the hub.
        limit: use only the first ``limit`` groups of questions (rotations and pairs count as one).

    Raises:
        ValueError: if the name is unknown (the message lists the choices), or the data are missing, lack columns, or
            hold a row that cannot be asked or a picture that cannot be opened.
    """
    benchmark = resolve(name, Benchmark, "benchmark")
    hub = benchmark.hub
    names = [hub] if benchmark.former_hub is None else [hub, benchmark.former_hub]
    folders = (hub.split("/")[-1], *(name.replace("/", "--") for name in names))
    source = Hub(*names) if data is None else Folder(data, benchmark.name, *folders)
    rows = benchmark.load(source)
    questions = question_rows(benchmark, rows, limit, source.root)
    loaded = LoadedBenchmark(benchmark, rows, questions, source.revision, source.root)
    loaded.require_pictures()
    return loaded


def chosen_benchmarks(named: Sequence[str] | str) -> list[Benchmark]:
    """Returns the benchmarks with the given names, in a list or separated by commas; "all" means the nine.

    Raises:
        ValueError: for an unknown name; the message lists the choices.
    """
    names = [name.strip() for name in (named.split(",") if isinstance(named, str) else named)]
    if names == [ALL]:
        return [kind() for kind in NINE]
    return [resolve(name, Benchmark, "benchmark") for name in dict.fromkeys(names)]


class DenseAnswers(NamedTuple):
    """The dense model's answers, one row per question, and how they were asked for."""

    answers: pd.DataFrame
    asked_with: Mapping[str, Any]


def dense_answers(folder: Path, loaded: Sequence[LoadedBenchmark]) -> dict[str, DenseAnswers]:
    """Reads the dense model's answers by benchmark from its result folder.

    Raises:
        ValueError: if it did not answer one of the benchmarks, or answered different questions or another version.
    """
    file = folder / SCORES
    dense_results = EvaluationReport.read(file).benchmarks if file.is_file() else {}
    answers = {}
    for loaded_benchmark in loaded:
        name, provenance = loaded_benchmark.benchmark.name, loaded_benchmark.provenance()
        if name not in dense_results:
            raise ValueError(
                f"dense: {str(folder)!r} has no result for {name}; it has {', '.join(dense_results) or 'none'}"
            )
        for field in ("version", "digest"):
            if (dense_value := dense_results[name].get(field)) != provenance[field]:
                raise ValueError(f"dense: {name} has {field} {dense_value!r} there and {provenance[field]!r} here")
        if "asked_with" not in dense_results[name]:
            raise ValueError(f"dense: {str(folder)!r} does not say how {name} was asked; ask the dense model again")
        answers[name] = DenseAnswers(read_answers(folder / name / "answers.jsonl"), dense_results[name]["asked_with"])
    return answers


def check_asked_alike(dense: Mapping[str, DenseAnswers], asked_with: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that both models are asked in the same way; if lengths, pictures or templates differ, retention is void.

    Args:
        dense: the dense model's answers by benchmark.
        asked_with: how the pruned model is about to be asked, by benchmark.

    Raises:
        ValueError: naming the benchmark, and every setting that differs.
    """
    for name, settings in asked_with.items():
        if differing := list(differences(dense[name].asked_with, plain(settings))):
            raise ValueError(f"dense: {name} was asked in another way: {'; '.join(differing[:3])}")
