"""What the dense model answered before, for a pruned model's retention."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.predictions import read_answers
from atv.records.evaluation_report import SCORES, EvaluationReport


def dense_answers(folder: Path, loaded: Sequence[LoadedBenchmark]) -> dict[str, Any]:
    """The dense model's answers by benchmark, from its result folder.

    Raises:
        ValueError: when it did not answer one of the benchmarks, or other questions, or another version of one.
    """
    file = folder / SCORES
    there = EvaluationReport.read(file).benchmarks if file.is_file() else {}
    answers = {}
    for each in loaded:
        name, here = each.benchmark.name, each.provenance()
        if name not in there:
            raise ValueError(f"dense: {str(folder)!r} has no result of {name}; it has {', '.join(there) or 'none'}")
        for field in ("version", "digest"):
            if there[name][field] != here[field]:
                raise ValueError(f"dense: {name} has {field} {there[name][field]!r} there and {here[field]!r} here")
        answers[name] = read_answers(folder / name / "answers.jsonl")
    return answers
