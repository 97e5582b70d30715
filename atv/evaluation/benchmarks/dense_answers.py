"""What the dense model answered before, for a pruned model's retention."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.predictions import read_answers
from atv.records.evaluation_report import SCORES, EvaluationReport
from atv.records.run_folder import differences, plain


class DenseAnswers(NamedTuple):
    """One row a question, and how they were asked for."""

    answers: pd.DataFrame
    asked_with: Mapping[str, Any]


def dense_answers(folder: Path, loaded: Sequence[LoadedBenchmark]) -> dict[str, DenseAnswers]:
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
            if (before := there[name].get(field)) != here[field]:
                raise ValueError(f"dense: {name} has {field} {before!r} there and {here[field]!r} here")
        if "asked_with" not in there[name]:
            raise ValueError(f"dense: {str(folder)!r} does not say how {name} was asked; ask the dense model again")
        answers[name] = DenseAnswers(read_answers(folder / name / "answers.jsonl"), there[name]["asked_with"])
    return answers


def check_asked_alike(dense: Mapping[str, DenseAnswers], asked_with: Mapping[str, Mapping[str, Any]]) -> None:
    """Whether both models are asked in one way: retention of other lengths, pictures or templates is none.

    Args:
        dense: by benchmark.
        asked_with: how the pruned model is about to be asked, by benchmark.

    Raises:
        ValueError: naming the benchmark, and every setting that differs.
    """
    for name, here in asked_with.items():
        if differing := list(differences(dense[name].asked_with, plain(here))):
            raise ValueError(f"dense: {name} was asked in another way: {'; '.join(differing[:3])}")
