"""From answered questions to scores, retention, differences between models, and their confidence intervals."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from atv.evaluation import metrics
from atv.plugins import resolve

RESAMPLES = 2000


@dataclass(frozen=True)
class TaskScore:
    """A task's score (0..1) with the counts behind it.

    ``values`` (seeds, groups) and ``strata`` (groups,) are ordered alike for every model that answered the same
    questions; a score of several seeds is the mean of theirs.
    """

    score: float
    groups: int
    questions: int
    values: NDArray[np.float64]
    strata: NDArray[np.int64]
    stratify: bool

    @property
    def right(self) -> float:
        """The groups that are right, in part or whole, out of ``groups``; the mean of the seeds."""
        return float(self.values.mean(0).sum())

    def of(self, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score of resampled groups and seeds.

        Args:
            rows: indices of groups (resamples, groups).
            weights: of the seeds (resamples, seeds), 1 in sum.
        """
        drawn = np.take_along_axis(weights @ self.values, rows, axis=1)
        if not self.stratify:
            return drawn.mean(1)
        members = [self.strata[rows] == stratum for stratum in np.unique(self.strata)]
        means = [(drawn * inside).sum(1) / np.maximum(inside.sum(1), 1) for inside in members]
        return np.mean(means, axis=0)


def task_scores(answers: pd.DataFrame) -> dict[str, TaskScore]:
    """Task -> score, from the rows that ``answer`` returns."""
    scores = {}
    for task, rows in answers.groupby("task", sort=False):
        metric = resolve(rows["metric"].iloc[0], metrics.GroupedScore, "metric")
        values, strata = metric.group_values(rows)
        score, by_seed = float(metric.mean(values, strata)), values.numpy()[None]
        scores[str(task)] = TaskScore(score, len(values), len(rows), by_seed, strata.numpy(), metric.stratify)
    return scores


def over_seeds(scores: Sequence[Mapping[str, TaskScore]]) -> dict[str, TaskScore]:
    """The scores of one method, run with several seeds on the same questions, as one."""
    pooled = {}
    for task, first in scores[0].items():
        every = [by_task[task] for by_task in scores]
        values = np.concatenate([score.values for score in every])
        pooled[task] = replace(first, score=float(np.mean([score.score for score in every])), values=values)
    return pooled


def category_scores(answers: pd.DataFrame) -> dict[str, TaskScore]:
    """Category -> score, of one task's rows."""
    return {str(category): next(iter(task_scores(rows).values())) for category, rows in answers.groupby("category")}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% bootstrap confidence interval."""

    value: float
    low: float
    high: float


def mean_estimate(values: ArrayLike) -> Estimate:
    """The mean of independent values, its interval by resampling them; a single value has no width."""
    each = np.asarray(values, dtype=np.float64)
    if len(each) == 1 or np.ptp(each) == 0:
        return Estimate(float(each.mean()), float(each.mean()), float(each.mean()))
    drawn = bootstrap((each,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0)
    return Estimate(float(each.mean()), float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def retention(dense: Mapping[str, TaskScore], pruned: Mapping[str, TaskScore]) -> dict[str, Estimate]:
    """Percent of the dense score kept, by task, and the mean over tasks as "average".

    The bootstrap resamples groups of questions, dense and pruned together, and the seeds of the pruned model. Tasks
    whose dense score is 0 have no retention and are left out; where all are, the average is not a number, and a warning
    says why.
    """
    return _estimates(_kept(dense, pruned))


def difference(
    dense: Mapping[str, TaskScore], one: Mapping[str, TaskScore], other: Mapping[str, TaskScore]
) -> dict[str, Estimate]:
    """By how many points ``one``'s retention exceeds ``other``'s; both are resampled together (paired). As of
    ``retention``, tasks and an average may be missing.
    """
    ones, others = _kept(dense, one), _kept(dense, other)
    return _estimates({task: kept - others[task] for task, kept in ones.items()})


def _kept(dense: Mapping[str, TaskScore], pruned: Mapping[str, TaskScore]) -> dict[str, NDArray[np.float64]]:
    """Task -> retention: the point estimate, then the bootstrap's draws; the same draws for any model."""
    seeds = {len(score.values) for score in pruned.values()}.pop()
    weights = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    rng = np.random.default_rng(0)
    kept = {}
    for task, before in dense.items():
        rows = rng.integers(before.groups, size=(RESAMPLES, before.groups))
        if before.score > 0:
            after = pruned[task]
            base = before.of(rows, np.ones((RESAMPLES, 1)))
            # A draw in which the dense model scores 0 has no retention.
            drawn = after.of(rows, weights) / np.where(base > 0, base, np.nan)
            kept[task] = 100 * np.concatenate([[after.score / before.score], drawn])
    if not kept:
        warnings.warn("retention: the dense model scores 0 on every task, so there is nothing to keep", stacklevel=3)
        return {"average": np.full(RESAMPLES + 1, np.nan)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return kept | {"average": np.nanmean(list(kept.values()), axis=0)}


def _estimates(draws: Mapping[str, NDArray[np.float64]]) -> dict[str, Estimate]:
    bounds = {
        task: np.full(2, np.nan) if np.isnan(drawn).all() else np.nanpercentile(drawn[1:], (2.5, 97.5))
        for task, drawn in draws.items()
    }
    return {task: Estimate(float(drawn[0]), *map(float, bounds[task])) for task, drawn in draws.items()}
