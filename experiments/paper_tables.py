"""The grid's results beside the paper's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from atv.evaluation.answer_tables import read_answers
from atv.evaluation.scores import TaskScore, retention, task_scores
from atv.records.evaluation_report import SCORES, EvaluationReport
from atv.records.files import atomic, write_text
from atv.records.page_parts import markdown
from atv.statistics.estimates import Estimate
from experiments.runs import PaperRun

# Average retention over the nine benchmarks, %, from the poster; for Qwen2-VL from notes on the paper.
PAPER = {
    "llava_next_8b": {
        "sparsegpt": {"50": 91.74, "60": 76.24, "2_4": 70.86, "4_8": 82.57},
        "wanda": {"50": 88.36, "60": 64.45, "2_4": 72.62, "4_8": 81.52},
        "amia": {"50": 92.67, "60": 73.75, "2_4": 74.90, "4_8": 83.57},
        "atv": {"50": 94.00, "60": 77.01, "2_4": 76.29, "4_8": 85.54},
    },
    "qwen2_5_vl_7b": {
        "sparsegpt": {"60": 85.75},
        "wanda": {"60": 78.15},
        "amia": {"60": 85.33},
        "atv": {"60": 86.44},
    },
    "qwen2_vl_7b": {"sparsegpt": {"60": 85.30}, "atv": {"60": 85.65}},
}


@dataclass(frozen=True)
class PaperOutcome:
    """Retention of one run by benchmark, and its average, in %."""

    run: PaperRun
    kept: dict[str, Estimate]

    @property
    def paper(self) -> float | None:
        """The paper's average, or None if it has none."""
        variant = self.run.variant
        assert variant is not None
        return PAPER.get(variant.model_file.stem, {}).get(variant.method, {}).get(variant.setting)


def outcomes(dense: PaperRun, runs: Sequence[PaperRun]) -> list[PaperOutcome]:
    """Retention of the runs that are finished.

    Raises:
        ValueError: if a run and the dense model answered different questions.
    """
    dense_scores = _scores(dense)
    return [PaperOutcome(run, retention(dense_scores, _scores(run, like=dense))) for run in runs if run.evaluated()]


def _scores(run: PaperRun, like: PaperRun | None = None) -> dict[str, TaskScore]:
    benchmarks, names = _benchmarks(run), run.asking.benchmarks
    dense_benchmarks = _benchmarks(like) if like else benchmarks
    for name in names:
        for field in ("version", "digest"):
            if benchmarks[name][field] != (dense_value := dense_benchmarks[name][field]):
                raise ValueError(
                    f"{run.name}: {name} has {field} {benchmarks[name][field]!r}, "
                    f"but the dense model has {dense_value!r}"
                )
    return {name: task_scores(read_answers(run.scores / name / "answers.jsonl"))[name] for name in names}


def _benchmarks(run: PaperRun) -> dict[str, Any]:
    return EvaluationReport.read(run.scores / SCORES).benchmarks


def write_table(folder: Path, dense: PaperRun, runs: Sequence[PaperRun]) -> str:
    """Writes table.md, whose text is returned, and table.csv (a row per run and benchmark), once a run is finished."""
    finished_outcomes = outcomes(dense, runs)
    if not finished_outcomes:
        return ""
    names = list(finished_outcomes[0].kept)
    benchmarks = [name for name in names if name != "average"]
    header = ["method", "setting", "average retention %", "paper", *benchmarks]
    rows = []
    for outcome in finished_outcomes:
        variant, paper = outcome.run.variant, outcome.paper
        assert variant is not None
        cells = [variant.method, variant.setting.replace("_", ":"), _interval(outcome.kept["average"])]
        rows.append(
            [*cells, "" if paper is None else f"{paper:.2f}", *(f"{outcome.kept[b].value:.2f}" for b in benchmarks)]
        )
    text = f"{markdown(header, rows)}\n\nThe paper's averages are over all nine benchmarks.\n"
    write_text(folder / "table.md", text)
    with atomic(folder / "table.csv") as path:
        _frame(finished_outcomes).to_csv(path, index=False)
    return text


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _frame(finished_outcomes: Sequence[PaperOutcome]) -> pd.DataFrame:
    rows = []
    for outcome in finished_outcomes:
        scores = _benchmarks(outcome.run)
        for name, estimate in outcome.kept.items():
            row = {"run": outcome.run.name, "benchmark": name, "retention": estimate.value, "low": estimate.low}
            row |= {"high": estimate.high, "paper": outcome.paper if name == "average" else None}
            rows.append(row | {field: scores.get(name, {}).get(field) for field in ("score", "right", "of", "unread")})
    return pd.DataFrame(rows)
