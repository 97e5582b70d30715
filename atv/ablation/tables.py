"""An ablation's cells as one long table, and as Markdown and CSV."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from atv.ablation.store import FinishedCell
from atv.evaluation.scores import retention, task_scores
from atv.files import atomic


def long_table(finished: Sequence[FinishedCell]) -> pd.DataFrame:
    """One row a cell and task ("average" among them): labels, task, score, groups, questions, retention, low, high.

    ``score`` is 0..100 and missing for the average; retention is in percent of the first cell, the dense model.
    """
    dense = task_scores(finished[0].answers)
    rows = []
    for done in finished:
        scores = task_scores(done.answers)
        for task, kept in retention(dense, scores).items():
            own = scores.get(task)
            counted = [own] if own else list(scores.values())
            rows.append(
                {
                    **done.cell.labels,
                    "task": task,
                    "score": 100 * own.score if own else None,
                    "groups": sum(score.groups for score in counted),
                    "questions": sum(score.questions for score in counted),
                    "retention": kept.value,
                    "low": kept.low,
                    "high": kept.high,
                }
            )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame, labels: Sequence[str], title: str) -> str:
    """One line a cell: retention and its interval by task, the dense scores and counts in the heading."""
    tasks = list(dict.fromkeys(table["task"]))
    counts = table.drop_duplicates("task").set_index("task")
    heads = [f"{task}<br>({counts.loc[task, 'groups']} groups)" for task in tasks]
    lines = [
        f"# {title}",
        "",
        "Retention in % of the dense score, with 95% bootstrap confidence intervals over groups of questions "
        "(dense and pruned resampled together); in brackets behind it the score in %.",
        "",
        "| " + " | ".join([*labels, *heads]) + " |",
        "|" + "---|" * (len(labels) + len(heads)),
    ]
    for values, rows in table.groupby(list(labels), sort=False):
        by_task = rows.set_index("task")
        cells = [_entry(by_task.loc[task]) for task in tasks]
        lines.append("| " + " | ".join([*(str(value) for value in values), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _entry(row: pd.Series) -> str:
    score = "" if pd.isna(row["score"]) else f" ({row['score']:.1f})"
    return f"{row['retention']:.1f} [{row['low']:.1f}, {row['high']:.1f}]{score}"


def write_tables(folder: Path, table: pd.DataFrame, labels: Sequence[str], title: str) -> None:
    """table.md and table.csv."""
    with atomic(folder / "table.md") as path:
        path.write_text(markdown(table, labels, title))
    with atomic(folder / "table.csv") as path:
        table.to_csv(path, index=False)
