"""Measured numbers with their intervals: Student's t over the questions and seeds that they were measured on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log10
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import t as student

CONFIDENCE = 0.95
# The smallest p-value that is searched for; smaller ones are reported as 0.
LEAST_P = 1e-15
# Names in findings.json of the fields of a spread that have different names here.
_RECORDED_AS = {"question_variance": "questions", "seed_variance": "drawn", "shared_variance": "both"}


@dataclass(frozen=True)
class Spread:
    """The variance of a mean over groups of questions and seeds, drawn independently; every seed is asked all groups.

    For a finding, all fields are single numbers. Simulations draw many worlds at once; then all fields except the
    counts are arrays of one shape, with one number per world.

    Attributes:
        groups: number of groups asked (of each task), or number of values that a mean was taken over.
        seeds: number of seeds; with one seed, the number is conditional on it.
        question_variance: variance of the mean over these seeds if other groups are drawn; groups that belong together
            are drawn together.
        freedom: degrees of freedom of ``question_variance``.
        seed_variance: variance of the mean over these groups if other seeds are drawn; 0 with one seed.
        shared_variance: the part of both of these that groups and seeds only have jointly; 0 with one seed.
    """

    groups: int
    seeds: int
    question_variance: Any
    freedom: Any
    seed_variance: Any = 0.0
    shared_variance: Any = 0.0

    def record(self) -> dict[str, Any]:
        """Returns the fields for JSON, with the names of ``_RECORDED_AS``."""
        return {_RECORDED_AS.get(name, name): value for name, value in vars(self).items()}

    @property
    def groups_alone(self) -> Any:
        """The variance that groups add to ``seed_variance``."""
        return np.maximum(self.question_variance - self.shared_variance, 0)

    @property
    def variance(self) -> Any:
        """The variance of the number if both groups and seeds are drawn anew."""
        return self.groups_alone + self.seed_variance

    def half(self, confidence: float = CONFIDENCE) -> Any:
        """Returns half the interval's width: t times the error, over groups and over seeds, as a root of squares.

        Source: Graybill and Wang (1980) for limits of sums of variances. What groups and seeds have jointly counts with
        the seeds, few as they are. If it counted with the groups, or with a single t after Satterthwaite, three seeds
        that differ would give more than 5% false differences (measured in the lab book, checked by the slow tests).
        """
        return self._half_width((1 - confidence) / 2)

    def _half_width(self, tail: float) -> Any:
        squares = np.square(student.isf(tail, self.freedom)) * self.groups_alone
        if self.seeds > 1:
            squares = squares + np.square(student.isf(tail, self.seeds - 1)) * self.seed_variance
        return np.sqrt(squares)

    def p(self, distance: float) -> float:
        """Returns the two-sided p-value of a number this far away: 1 - the confidence whose interval just reaches it.

        Values below 1e-15 are returned as 0.
        """
        if not distance > 0 or np.isinf(self.variance):
            return 1.0
        if self._half_width(LEAST_P / 2) <= distance:
            return 0.0
        return float(10 ** brentq(lambda power: self._half_width(10**power / 2) - distance, log10(LEAST_P), 0))

    @property
    def least_p(self) -> float:
        """The two-sided p-value if all n clusters differ in one direction: the sign test's minimum, 2 * 0.5^n.

        Student's t has no such minimum: answers that all differ alike have no spread, however few they are.
        """
        return float(0.5**self.freedom)

    def planned(self, groups: int, seeds: int) -> Self:
        """Returns the spread that is expected with this many groups and seeds."""
        group_ratio, seed_ratio = self.groups / groups, self.seeds / seeds
        shared = self.shared_variance * group_ratio * seed_ratio
        question_variance = self.groups_alone * group_ratio + shared
        seed_variance = np.maximum(self.seed_variance - self.shared_variance, 0) * seed_ratio + shared
        return type(self)(groups, seeds, question_variance, self.freedom / group_ratio, seed_variance, shared)


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval.

    Attributes:
        value, low, high: the number and the interval's bounds, which are infinite if one value alone shows no spread.
        spread: what the interval was computed from; None for bounds of another kind, such as minimum and maximum.
        confidence: the interval's confidence level.
        runs: names of the runs that the number was measured on.
    """

    value: float
    low: float
    high: float
    spread: Spread | None = None
    confidence: float = CONFIDENCE
    runs: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: float, spread: Spread, confidence: float = CONFIDENCE) -> Self:
        """Returns the number with the interval computed from its spread, whose fields are single numbers."""
        spread_fields = (spread.question_variance, spread.freedom, spread.seed_variance, spread.shared_variance)
        spread = Spread(spread.groups, spread.seeds, *map(float, spread_fields))
        half_width = float(spread.half(confidence))
        return cls(value, value - half_width, value + half_width, spread, confidence)

    def at(self, confidence: float) -> Self:
        """Returns the same number with an interval of a different confidence.

        Raises:
            ValueError: if the bounds were not computed from a spread.
        """
        if self.spread is None:
            raise ValueError("interval: bounds without a spread cannot be computed at a different confidence")
        return replace(type(self).of(self.value, self.spread, confidence), runs=self.runs)

    def record(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        spread = self.spread.record() if self.spread else None
        return vars(self) | {"spread": spread, "runs": list(self.runs)}


def mean_estimate(values: ArrayLike) -> Estimate:
    """Returns the mean of independent values with a t interval; one value alone has infinite bounds."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 1:
        return Estimate(float(sample[0]), -np.inf, np.inf)
    return Estimate.of(
        float(sample.mean()), Spread(len(sample), 1, float(sample.var(ddof=1) / len(sample)), len(sample) - 1)
    )


@dataclass(frozen=True)
class TaskPart:
    """One task's contribution to a number that is linear in its groups, or was linearized (the delta method).

    Attributes:
        by_seed: the task's number for each seed (..., seeds).
        pulls: what each group adds to it (..., seeds, groups), summing to 0: its weight times its distance from the
            mean.
        strata: the category of each group (groups,) if categories have a fixed share, else the same for all groups.
        clusters: what each group belongs to (groups,), such as a picture, as a number from 0 that is the same in every
            task; None if each group stands alone.
    """

    by_seed: NDArray[np.float64]
    pulls: NDArray[np.float64]
    strata: NDArray[np.int64]
    clusters: NDArray[np.int64] | None = None

    def __sub__(self, other: "TaskPart") -> "TaskPart":
        """Returns the difference on the same groups, by seed; a single seed is paired with every seed of the other."""
        return replace(self, by_seed=self.by_seed - other.by_seed, pulls=self.pulls - other.pulls)

    @property
    def scattered(self) -> NDArray[np.float64]:
        """Pulls about their category's mean, scaled for an unbiased variance.

        The squares of the clusters' sums add up to that variance. A category with one cluster keeps its distance from
        the overall mean, because it shows no spread by itself.
        """
        scattered = np.array(self.pulls)
        for in_category, count in self._categories():
            if count > 1:
                pulls = self.pulls[..., in_category]
                scattered[..., in_category] = (pulls - pulls.mean(-1, keepdims=True)) * np.sqrt(count / (count - 1))
        return scattered

    @property
    def freedom(self) -> int:
        """Degrees of freedom: clusters minus categories, or minus one if a category has only one cluster."""
        sizes = [count for _, count in self._categories()]
        return sum(sizes) - (len(sizes) if min(sizes) > 1 else 1)

    def _categories(self) -> Iterator[tuple[NDArray[np.bool_], int]]:
        """Yields the groups of each category as a mask (groups,), and their number of clusters."""
        for stratum in np.unique(self.strata):
            in_category = self.strata == stratum
            yield (
                in_category,
                int(in_category.sum() if self.clusters is None else len(np.unique(self.clusters[in_category]))),
            )


def mean_over(tasks: Sequence[TaskPart]) -> tuple[NDArray[np.float64], Spread]:
    """Returns the mean over tasks and seeds (...), and its spread; a cluster counts as one across all tasks.

    Source: Owen and Eckles, Bootstrapping data arrays of arbitrary order (2012), for the variance of a mean over two
    crossed factors; Miller, Adding error bars to evals (2024), for clustered questions.

    A task with only one cluster shows no spread: the variance is then infinite.
    """
    seeds, task_weight = tasks[0].by_seed.shape[-1], 1 / len(tasks)
    clusters = _clusters(tasks)
    scattered = [task_weight * task.scattered for task in tasks]
    cluster_sums = _sums(np.concatenate(scattered, axis=-1), np.concatenate(clusters))
    means = cluster_sums.mean(-2, keepdims=True)
    by_task = [
        np.square(_sums(pulls.mean(-2), task_clusters)).sum(-1)
        for pulls, task_clusters in zip(scattered, clusters, strict=True)
    ]
    by_seed = task_weight * np.sum([task.by_seed for task in tasks], axis=0)
    question_variance = np.square(means).sum((-2, -1))
    # Questions of several tasks about few pictures have no more information than these pictures.
    freedom = np.minimum(_satterthwaite(by_task, [task.freedom for task in tasks]), max(cluster_sums.shape[-1] - 1, 1))
    if not all(task.freedom for task in tasks):
        question_variance = np.full_like(question_variance, np.inf)
    groups = min(task.pulls.shape[-1] for task in tasks)
    if seeds == 1:
        return by_seed.mean(-1), Spread(groups, 1, question_variance, freedom)
    residual_squares = np.square(cluster_sums - means).sum((-2, -1))
    seed_variance, shared_variance = by_seed.var(-1, ddof=1) / seeds, residual_squares / (seeds - 1) / seeds
    return by_seed.mean(-1), Spread(groups, seeds, question_variance, freedom, seed_variance, shared_variance)


def _clusters(tasks: Sequence[TaskPart]) -> list[NDArray[np.int64]]:
    """Returns what each group of each task belongs to (groups,); a negative number if the group stands alone."""
    ends = np.cumsum([task.pulls.shape[-1] for task in tasks])
    singleton_ids = (-np.arange(end - task.pulls.shape[-1], end) - 1 for end, task in zip(ends, tasks, strict=True))
    return [
        singletons if task.clusters is None else task.clusters
        for singletons, task in zip(singleton_ids, tasks, strict=True)
    ]


def _sums(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over each cluster's groups: (..., groups) to (..., clusters)."""
    order = np.argsort(clusters, kind="stable")
    _, starts = np.unique(clusters[order], return_index=True)
    return np.add.reduceat(values[..., order], starts, axis=-1)


def _satterthwaite(variances: Sequence[NDArray[np.float64]], freedoms: Sequence[int]) -> NDArray[np.float64]:
    """Returns the degrees of freedom of a sum of variances; if all are zero, those of its parts added up."""
    squared = np.sum(
        [variance**2 / max(freedom, 1) for variance, freedom in zip(variances, freedoms, strict=True)], axis=0
    )
    joint = np.sum(variances, axis=0) ** 2 / np.where(squared > 0, squared, 1)
    return np.where(squared > 0, joint, max(sum(freedoms), 1))
