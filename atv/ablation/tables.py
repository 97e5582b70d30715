"""An ablation's results as one long table, and that table as shown in table.md and on the report page."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from atv.ablation.results import Results
from atv.records.page_parts import markdown

RETENTION = ["task", "score", "groups", "questions", "seeds", "retention", "low", "high", "seed_low", "seed_high"]


def retention_table(results: Results) -> pd.DataFrame:
    """Returns the table of retention: one row per set of labels and task, with "average" among the tasks.

    Columns: the labels, those of ``Results.language`` if it was measured, task, score (0..100, missing for the
    average), groups, questions, seeds, retention, low, high (95% interval; all in percent of the dense
    score), seed_low and seed_high (least and greatest average retention of a single seed).
    """
    rows = []
    for labels in results.methods():
        scores, seed_retentions = results.scores(**labels), results.by_seed(**labels)
        label_columns = labels | results.language(**labels)
        for task, retention in results.retention(**labels).items():
            task_score = scores.get(task)
            counted_scores = [task_score] if task_score else list(scores.values())
            rows.append(
                {
                    **label_columns,
                    "task": task,
                    "score": 100 * task_score.score if task_score else None,
                    "groups": sum(score.groups for score in counted_scores),
                    "questions": sum(score.questions for score in counted_scores),
                    "seeds": len(seed_retentions),
                    "retention": retention.value,
                    "low": retention.low,
                    "high": retention.high,
                    "seed_low": min(seed_retentions) if task == "average" else None,
                    "seed_high": max(seed_retentions) if task == "average" else None,
                }
            )
    return pd.DataFrame(rows)


def with_visual_tokens(table: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Inserts, after the labels, how many visual tokens a sample gave to the pool, averaged over blocks."""
    tokens_by_method = {tuple(labels.values()): results.visual_tokens(**labels) for labels in results.methods()}
    label_names = list(next(results.methods()))
    tokens = [round(tokens_by_method[method], 1) for method in zip(*(table[name] for name in label_names), strict=True)]
    extended = table.copy()
    extended.insert(len(label_names), "visual tokens", tokens)
    return extended


def chosen_tasks(tasks: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """Returns the tasks that a table shows.

    Raises:
        ValueError: for a column that is not a task.
    """
    choices = [*dict.fromkeys(tasks), "average"]
    if unknown := [column for column in columns or () if column not in choices]:
        raise ValueError(f"columns: unknown {', '.join(unknown)}. Choices: {', '.join(choices)}")
    return list(columns or choices)


@dataclass(frozen=True)
class TableCell:
    """A heading or cell: its main text, followed in small print by its interval or count."""

    text: str
    small: str = ""

    @property
    def plain(self) -> str:
        """Both texts in one line."""
        return f"{self.text} {self.small}".rstrip()


@dataclass(frozen=True)
class ShownTable:
    """A table as a reader sees it: headings and rows."""

    heads: list[TableCell]
    rows: list[list[TableCell]]

    @classmethod
    def of(cls, table: pd.DataFrame, words: Collection[str] = (), columns: Sequence[str] | None = None) -> "ShownTable":
        """Returns the table to show.

        A table of retention gets one line per set of labels and one column per task; any other table is only rounded.

        Args:
            table: all values as text, as in the CSV file.
            words: columns that hold words, even if they look like numbers.
            columns: tasks to show; None for all.

        Raises:
            ValueError: for a column that is not a task.
        """
        if set(RETENTION) <= set(table):
            return cls._by_task(table, columns)
        rows = [
            [TableCell(value if name in words else _rounded(value)) for name, value in zip(table, row, strict=True)]
            for row in table.itertuples(index=False)
        ]
        return cls([TableCell(str(name)) for name in table], rows)

    @classmethod
    def _by_task(cls, table: pd.DataFrame, columns: Sequence[str] | None) -> "ShownTable":
        labels = [name for name in table if name not in RETENTION]
        counts = table.drop_duplicates("task").set_index("task")["groups"]
        groups_differ = bool((table.groupby("task")["groups"].nunique() > 1).any())
        tasks = chosen_tasks([task for task in counts.index if task != "average"], columns)
        rows = []
        for values, method_rows in table.groupby(labels, sort=False):
            row_by_task = method_rows.set_index("task")
            # If lines were asked different numbers of groups, each shows its own, of all tasks together.
            group_counts = [str(row_by_task["groups"].astype(int).max())] if groups_differ else []
            label_cells = [TableCell(value) for value in (*values, row_by_task["seeds"].iloc[0], *group_counts)]
            task_cells = (
                _retention_cell(row_by_task.loc[task]) if task in row_by_task.index else TableCell("none")
                for task in tasks
            )
            rows.append([*label_cells, *task_cells])
        heads = [
            *map(TableCell, (*labels, "seeds", *(["groups"] if groups_differ else []))),
            *(TableCell(task, "" if groups_differ else f"({counts[task]} groups)") for task in tasks),
        ]
        return cls(heads, rows)

    def markdown(self) -> str:
        """Returns the table in Markdown; a heading's small print goes below it."""
        heads = [f"{head.text}<br>{head.small}" if head.small else head.text for head in self.heads]
        return markdown(heads, [[entry.plain for entry in row] for row in self.rows])


def _retention_cell(row: pd.Series) -> TableCell:
    score = f" ({float(row['score']):.1f})" if row["score"] else ""
    if not row["retention"]:
        return TableCell("none", score.strip())
    return TableCell(f"{float(row['retention']):.1f}", f"[{float(row['low']):.1f}, {float(row['high']):.1f}]{score}")


def _rounded(value: str) -> str:
    """Rounds a fraction to four digits; returns anything else as it is.

    >>> _rounded("0.123456"), _rounded("128"), _rounded("AllTokens"), _rounded("")
    ('0.1235', '128', 'AllTokens', '')
    """
    if not any(sign in value for sign in ".e"):
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
