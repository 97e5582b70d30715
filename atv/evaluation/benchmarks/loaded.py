"""Benchmarks that were named, and each with its data: what to ask a model, and what to say of where it came from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import ProcessorMixin

from atv.evaluation.benchmarks import NINE, Benchmark
from atv.evaluation.benchmarks.asked import Asked, BenchmarkBatch, asked, digest
from atv.evaluation.benchmarks.source import Folder, Hub
from atv.plugins import resolve


@dataclass(frozen=True)
class LoadedBenchmark:
    """The rows of a benchmark, and the questions that are asked of them."""

    benchmark: Benchmark
    rows: Dataset
    questions: Sequence[Asked]
    revision: str

    def batches(
        self, processor: ProcessorMixin, batch_size: int = 8, without: Collection[str] = ()
    ) -> list[BenchmarkBatch]:
        """What ``answer`` asks: batches of like length, for little padding, of all questions but those ``without``."""
        left = [each for each in self.questions if each.question["question_id"] not in without]
        left.sort(key=lambda each: (len(each.question["question"].split()), each.question["question_id"]))
        parts = [tuple(left[start : start + batch_size]) for start in range(0, len(left), batch_size)]
        return [BenchmarkBatch(self.benchmark, self.rows, part, processor) for part in parts]

    def provenance(self) -> dict[str, Any]:
        """Version, hub id, configuration, split, revision and digest of the questions."""
        return self.benchmark.provenance() | {"revision": self.revision, "digest": digest(self.questions)}


def load_benchmark(name: str | Benchmark, data: Path | None = None, limit: int | None = None) -> LoadedBenchmark:
    """A benchmark with its data, from the hub or a local copy.

    Args:
        name: class name, dotted path, or an instance.
        data: folder of the data set, or of several by the benchmarks' names; None downloads it from the hub.
        limit: only the first so many groups of questions (rotations and pairs are one).

    Raises:
        ValueError: for an unknown name (the message lists the choices), or data that are missing or lack columns.
    """
    benchmark = resolve(name, Benchmark, "benchmark")
    hub = benchmark.hub
    source = Hub(hub) if data is None else Folder(data, benchmark.name, hub.split("/")[-1], hub.replace("/", "--"))
    rows = benchmark.load(source)
    return LoadedBenchmark(benchmark, rows, asked(benchmark, rows, limit), source.revision)


ALL = "all"


def chosen_benchmarks(named: Sequence[str] | str) -> list[Benchmark]:
    """The benchmarks of a list, or of names with commas between them; "all" are the nine.

    Raises:
        ValueError: for an unknown name; the message lists the choices.
    """
    names = [name.strip() for name in (named.split(",") if isinstance(named, str) else named)]
    if names == [ALL]:
        return [kind() for kind in NINE]
    return [resolve(name, Benchmark, "benchmark") for name in dict.fromkeys(names)]


def load_all(benchmarks: Sequence[Benchmark], data: Path | None, limit: int | None) -> list[LoadedBenchmark]:
    """Benchmarks with their data, so that whatever is wrong with any is known before a model is loaded."""
    return [load_benchmark(benchmark, data, limit) for benchmark in benchmarks]
