"""From answered questions to scores, retention and its confidence intervals."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atv.evaluation import metrics
from atv.plugins import find


@dataclass(frozen=True)
class TaskScore:
    """A task's score (0..1) with the counts behind it; ``values`` and ``strata`` are by group, ordered alike for
    every model that answered the same questions."""

    score: float
    groups: int
    questions: int
    values: NDArray[np.float64]
    strata: NDArray[np.int64]
    stratify: bool

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score of resampled groups: indices (resamples, groups) -> (resamples,)."""
        if not self.stratify:
            return self.values[rows].mean(1)
        members = [self.strata[rows] == stratum for stratum in np.unique(self.strata)]
        means = [(self.values[rows] * inside).sum(1) / np.maximum(inside.sum(1), 1) for inside in members]
        return np.mean(means, axis=0)


def task_scores(answers: pd.DataFrame) -> dict[str, TaskScore]:
    """Task -> score, from the rows that ``answer`` returns."""
    scores = {}
    for task, rows in answers.groupby("task", sort=False):
        metric = find(rows["metric"].iloc[0], metrics.GroupedScore, "metric")()  # type: ignore[type-abstract]
        metric.add(rows["credit"].tolist(), rows["group"].tolist(), rows["category"].tolist())
        values, strata = metric.group_values()
        scores[str(task)] = TaskScore(
            float(metric.mean(values, strata)), len(values), len(rows), values.numpy(), strata.numpy(), metric.stratify
        )
    return scores


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% bootstrap confidence interval."""

    value: float
    low: float
    high: float


def retention(
    dense: dict[str, TaskScore], pruned: dict[str, TaskScore], resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Percent of the dense score kept, by task, and the mean over tasks as "average".

    The bootstrap resamples groups of questions, dense and pruned together. Tasks whose dense score is 0 have no
    retention and are left out.

    Raises:
        ValueError: when the dense model scores 0 on every task.
    """
    rng = np.random.default_rng(seed)
    points, draws = {}, {}
    for task, before in dense.items():
        after = pruned[task]
        rows = rng.integers(before.groups, size=(resamples, before.groups))
        if before.score == 0:
            continue
        points[task] = 100 * after.score / before.score
        draws[task] = 100 * after.of(rows) / np.maximum(before.of(rows), 1e-9)
    if not points:
        raise ValueError("retention: the dense model scores 0 on every task, so there is nothing to keep")
    points["average"] = float(np.mean(list(points.values())))
    draws["average"] = np.mean(list(draws.values()), axis=0)
    bounds = {task: np.percentile(draw, (2.5, 97.5)) for task, draw in draws.items()}
    return {task: Estimate(points[task], float(bounds[task][0]), float(bounds[task][1])) for task in points}
