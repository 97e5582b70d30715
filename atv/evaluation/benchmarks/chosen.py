"""The benchmarks that were named."""

from collections.abc import Sequence
from pathlib import Path

from atv.evaluation.benchmarks import NINE, Benchmark
from atv.evaluation.benchmarks.loaded import LoadedBenchmark, load_benchmark
from atv.plugins import resolve

ALL = "all"


def chosen_benchmarks(named: Sequence[str] | str) -> list[Benchmark]:
    """The benchmarks of a list, or of names with commas between them; "all" are the nine.

    Raises:
        ValueError: for an unknown name; the message lists the choices.
    """
    names = [name.strip() for name in (named.split(",") if isinstance(named, str) else named)]
    if names == [ALL]:
        return [kind() for kind in NINE]
    return [resolve(name, Benchmark, "benchmark") for name in dict.fromkeys(names)]  # type: ignore[type-abstract]


def load_all(benchmarks: Sequence[Benchmark], data: Path | None, limit: int | None) -> list[LoadedBenchmark]:
    """Their data, so that whatever is wrong with any is known before a model is loaded."""
    return [load_benchmark(benchmark, data, limit) for benchmark in benchmarks]
