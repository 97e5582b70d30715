"""An ablation's results as one long table, and any table as Markdown and CSV."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from atv.ablation.results import Results
from atv.records.files import atomic

RETENTION = ["task", "score", "groups", "questions", "seeds", "retention", "low", "high", "seed_low", "seed_high"]


def retention_table(results: Results) -> pd.DataFrame:
    """One row a labelling and task, "average" among the tasks.

    Columns: the labels, task, score (0..100, missing for the average), groups, questions, seeds, retention, low, high
    (95% bootstrap interval; all in percent of the dense score), seed_low and seed_high (least and greatest average
    retention of one seed).
    """
    rows = []
    for labels in results.methods():
        scores, alone = results.scores(**labels), results.by_seed(**labels)
        for task, kept in results.retention(**labels).items():
            own = scores.get(task)
            counted = [own] if own else list(scores.values())
            rows.append(
                {
                    **labels,
                    "task": task,
                    "score": 100 * own.score if own else None,
                    "groups": sum(score.groups for score in counted),
                    "questions": sum(score.questions for score in counted),
                    "seeds": len(alone),
                    "retention": kept.value,
                    "low": kept.low,
                    "high": kept.high,
                    "seed_low": min(alone) if task == "average" else None,
                    "seed_high": max(alone) if task == "average" else None,
                }
            )
    return pd.DataFrame(rows)


def chosen_tasks(tasks: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """The tasks that a table shows.

    Raises:
        ValueError: for a column that is no task.
    """
    choices = [*dict.fromkeys(tasks), "average"]
    if unknown := [column for column in columns or () if column not in choices]:
        raise ValueError(f"columns: unknown {', '.join(unknown)}. Choices: {', '.join(choices)}")
    return list(columns or choices)


def markdown(table: pd.DataFrame, title: str, caption: str, columns: Sequence[str] | None = None) -> str:
    """A table as text: of retention, one line a labelling and one column a task; of anything else, as it is."""
    shown = _by_task(table, columns) if set(RETENTION) <= set(table) else table.map(_short)
    heads = [str(name) for name in shown]
    lines = [f"# {title}", "", caption, "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(map(str, row))} |" for row in shown.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def _by_task(table: pd.DataFrame, columns: Sequence[str] | None) -> pd.DataFrame:
    labels = [name for name in table if name not in RETENTION]
    counts = table.drop_duplicates("task").set_index("task")["groups"]
    tasks = chosen_tasks([task for task in counts.index if task != "average"], columns)
    rows = []
    for values, part in table.groupby(labels, sort=False):
        by_task = part.set_index("task")
        entries = {f"{task}<br>({counts[task]} groups)": _entry(by_task.loc[task]) for task in tasks}
        rows.append({**dict(zip(labels, values, strict=True)), "seeds": by_task["seeds"].iloc[0], **entries})
    return pd.DataFrame(rows)


def _entry(row: pd.Series) -> str:
    score = "" if pd.isna(row["score"]) else f" ({row['score']:.1f})"
    return f"{row['retention']:.1f} [{row['low']:.1f}, {row['high']:.1f}]{score}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_tables(
    folder: Path, table: pd.DataFrame, title: str, caption: str, columns: Sequence[str] | None = None
) -> None:
    """table.md and table.csv."""
    with atomic(folder / "table.md") as path:
        path.write_text(markdown(table, title, caption, columns))
    with atomic(folder / "table.csv") as path:
        table.to_csv(path, index=False)
