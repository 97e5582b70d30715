"""An ablation's results as one long table."""

from collections.abc import Sequence

import pandas as pd

from atv.ablation.results import Results

RETENTION = ["task", "score", "groups", "questions", "seeds", "retention", "low", "high", "seed_low", "seed_high"]


def retention_table(results: Results) -> pd.DataFrame:
    """The table of retention: one row a labelling and task, "average" among the tasks.

    Columns: the labels, those of ``Results.language`` where it was measured, task, score (0..100, missing for the
    average), groups, questions, seeds, retention, low, high (95% interval; all in percent of the dense
    score), seed_low and seed_high (least and greatest average retention of one seed).
    """
    rows = []
    for labels in results.methods():
        scores, alone = results.scores(**labels), results.by_seed(**labels)
        described = labels | results.language(**labels)
        for task, kept in results.retention(**labels).items():
            own = scores.get(task)
            counted = [own] if own else list(scores.values())
            rows.append(
                {
                    **described,
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
