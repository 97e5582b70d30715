"""What ``atv evaluate --benchmark`` does."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel, ProcessorMixin

from atv.evaluation.benchmark_run import BenchmarkResult, ask_benchmark
from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.scores import Estimate, retention, task_scores
from atv.records.files import write_json
from atv.records.provenance import git_revision, hardware, versions


def evaluate_benchmarks(
    loaded: Sequence[LoadedBenchmark],
    model: PreTrainedModel,
    processor: ProcessorMixin,
    trainer: L.Trainer,
    output: Path | None,
    batch_size: int,
    max_new_tokens: int | None,
    dense: dict[str, Any] | None,
    origin: dict[str, Any],
) -> None:
    """Asks each benchmark, prints the table, and writes scores.json and each benchmark's answers."""
    results = {}
    for each in loaded:
        name = each.benchmark.name
        folder = None if output is None else output / name
        results[name] = ask_benchmark(each, model, processor, trainer, folder, batch_size, max_new_tokens)
    if not trainer.is_global_zero:
        return
    rows = {name: result.row() for name, result in results.items()}
    kept = {} if dense is None else _retention(dense, results)
    _show(rows, kept)
    if output is not None:
        length = {name: max_new_tokens or each.loaded.benchmark.max_new_tokens for name, each in results.items()}
        made = {"versions": versions(), "git": git_revision(), "hardware": hardware()}
        benchmarks = {name: row | {"max_new_tokens": length[name]} for name, row in rows.items()}
        kept_rows = {name: asdict(estimate) for name, estimate in kept.items()}
        write_json(
            output / "scores.json", {"schema": 1, "benchmarks": benchmarks, "retention": kept_rows} | origin | made
        )


def _retention(dense: dict[str, Any], results: dict[str, BenchmarkResult]) -> dict[str, Estimate]:
    before = {name: task_scores(answers)[name] for name, answers in dense.items()}
    return retention(before, {name: result.score for name, result in results.items()})


def _show(rows: dict[str, dict[str, Any]], kept: dict[str, Estimate]) -> None:
    table = Table("benchmark", "score", "right", "unread", "version", "parts", *(["retention %"] if kept else []))
    for name, row in rows.items():
        parts = ", ".join(f"{part} {value:.4g}" for part, value in row["parts"].items())
        score = f"{row['score']:.2f}" + (f" of {row['maximum']:.0f}" if row["maximum"] != 100 else "")
        counts = f"{row['right']:.6g} of {row['of']}"
        cells = [name, score, counts, str(row["unread"]), f"{row['version']} ({row['revision'][:12]})", parts]
        table.add_row(*cells, *([_estimate(kept.get(name))] if kept else []))
    if kept:
        table.add_row("average", *[""] * 5, _estimate(kept["average"]))
    Console().print(table)


def _estimate(kept: Estimate | None) -> str:
    return f"{kept.value:.2f} [{kept.low:.2f}, {kept.high:.2f}]" if kept else "dense is 0"
