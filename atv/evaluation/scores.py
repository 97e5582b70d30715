"""Computes scores, retention, differences between models and confidence intervals from answered questions."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from atv.evaluation import metrics
from atv.evaluation.clusters import clusters_of
from atv.evaluation.metrics.base import stable_hash
from atv.plugins import resolve
from atv.statistics.estimates import Estimate, TaskPart, mean_over


@dataclass(frozen=True)
class TaskScore:
    """A task's score (0..1) with the counts behind it.

    ``values`` (seeds, groups), ``strata`` (groups,), ``clusters`` (groups,), what each group belongs to, and ``sizes``
    (groups,), the groups' numbers of questions, are ordered by ``names`` (groups,), the hashes of the groups. A score
    of several seeds is the mean of their scores.
    """

    values: NDArray[np.float64]
    strata: NDArray[np.int64]
    clusters: NDArray[np.int64]
    names: NDArray[np.int64]
    sizes: NDArray[np.int64]
    stratify: bool

    @property
    def score(self) -> float:
        """The mean over ``categories`` of the means of their groups' values."""
        values = torch.from_numpy(self.values)
        category_means = [values[:, self.categories == category].mean(1) for category in np.unique(self.categories)]
        return float(torch.stack(category_means, 1).mean(1).numpy().mean())

    @property
    def groups(self) -> int:
        return len(self.names)

    @property
    def questions(self) -> int:
        return int(self.sizes.sum())

    @property
    def right(self) -> float:
        """How many of ``groups`` are right, counting partly right ones in part; the mean over seeds."""
        return float(self.values.mean(0).sum())

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each group in the score (groups,), summing to 1."""
        _, category, sizes = np.unique(self.categories, return_inverse=True, return_counts=True)
        return 1 / (len(sizes) * sizes[category])

    @property
    def categories(self) -> NDArray[np.int64]:
        """The category of each group if the score is a mean over categories, else one category for all."""
        return self.strata if self.stratify else np.zeros_like(self.strata)

    def on(self, names: NDArray[np.int64]) -> "TaskScore":
        """Returns the score on the named groups alone.

        Raises:
            ValueError: if no group is named.
        """
        if not len(names):
            raise ValueError("scores: the models were not asked any group of questions in common")
        is_named = np.isin(self.names, names)
        if is_named.all():
            return self
        by_group = {name: getattr(self, name)[is_named] for name in ("strata", "clusters", "names", "sizes")}
        return replace(self, values=self.values[:, is_named], **by_group)


def task_scores(answers: pd.DataFrame) -> dict[str, TaskScore]:
    """Returns the score of each task, from the rows that ``answer`` returns."""
    scores = {}
    for task, rows in answers.assign(cluster=clusters_of(answers)).groupby("task", sort=False):
        metric = resolve(rows["metric"].iloc[0], metrics.GroupedScore, "metric")
        values, strata = metric.group_values(rows)
        hashes = [stable_hash(group) for group in rows["group"]]
        names, first_rows, sizes = np.unique(hashes, return_index=True, return_counts=True)
        by_seed, clusters = values.numpy()[None], rows["cluster"].to_numpy()[first_rows]
        scores[str(task)] = TaskScore(by_seed, strata.numpy(), clusters, names, sizes, metric.stratify)
    return scores


def over_seeds(scores: Sequence[Mapping[str, TaskScore]]) -> dict[str, TaskScore]:
    """Combines the scores of one method, run with several seeds on the same questions."""
    pooled = {}
    for task, first_score in scores[0].items():
        pooled[task] = replace(first_score, values=np.concatenate([by_task[task].values for by_task in scores]))
    return pooled


def on_shared_groups(*models: Mapping[str, TaskScore]) -> list[dict[str, TaskScore]]:
    """Returns the scores of several models on the groups that all of them were asked.

    Raises:
        ValueError: if a task has no such group.
    """
    names = {task: reduce(np.intersect1d, [scores[task].names for scores in models]) for task in models[0]}
    return [{task: scores[task].on(names[task]) for task in names} for scores in models]


def category_scores(answers: pd.DataFrame) -> dict[str, TaskScore]:
    """Returns the score of each category, from one task's rows."""
    return {str(category): next(iter(task_scores(rows).values())) for category, rows in answers.groupby("category")}


def retention(dense: Mapping[str, TaskScore], pruned: Mapping[str, TaskScore]) -> dict[str, Estimate]:
    """Returns the percentage of the dense score that is kept, by task, and the mean over tasks as "average".

    Intervals account for other draws of the questions (the same for both models, all about one picture together) and,
    if the pruned model has several seeds, for other seeds. Tasks whose dense score is 0 have no retention and are left
    out; if that leaves none, the average is NaN, and a warning says why.

    Raises:
        ValueError: if the dense model answered different questions.
    """
    return _estimates(_kept_parts(dense, pruned))


def difference(
    dense: Mapping[str, TaskScore], one: Mapping[str, TaskScore], other: Mapping[str, TaskScore]
) -> dict[str, Estimate]:
    """Returns by how many points ``one``'s retention exceeds ``other``'s, paired by question and by seed.

    Both have the same seeds in the same order, or one of them has a single row that is used for every seed. As in
    ``retention``, tasks and the average may be missing.

    Raises:
        ValueError: if one of them answered different questions.
    """
    one_parts, other_parts = _kept_parts(dense, one), _kept_parts(dense, other)
    return _estimates({task: part - other_parts[task] for task, part in one_parts.items()})


def gaps_apart(
    dense: Mapping[str, TaskScore], wide: Sequence[Mapping[str, TaskScore]], narrow: Sequence[Mapping[str, TaskScore]]
) -> dict[str, Estimate]:
    """Returns by how many points the difference between two retentions exceeds that between two others, all paired.

    Args:
        wide: scores of the two whose difference, the first minus the second, is expected to be the larger one.
        narrow: likewise, scores of the two others.

    Raises:
        ValueError: as in ``difference``.
    """
    wide_first, wide_second, narrow_first, narrow_second = (_kept_parts(dense, scores) for scores in (*wide, *narrow))
    return _estimates(
        {
            task: (part - wide_second[task]) - (narrow_first[task] - narrow_second[task])
            for task, part in wide_first.items()
        }
    )


def kept_share(
    dense: NDArray[np.float64],
    pruned: NDArray[np.float64],
    weights: NDArray[np.float64],
    categories: NDArray[np.int64],
    clusters: NDArray[np.int64] | None = None,
) -> TaskPart:
    """Returns pruned score / dense score in percent, linearized in the groups (the delta method).

    Args:
        dense: the groups' values (..., groups).
        pruned: likewise, by seed (..., seeds, groups).
        weights: weight of each group in the score (groups,), summing to 1.
        categories: category of each group (groups,).
        clusters: cluster that each group belongs to (groups,); None if each group stands alone.
    """
    dense_score = np.asarray(dense @ weights)[..., None]
    share = pruned @ weights / dense_score
    pulls = weights * (pruned - share[..., None] * dense[..., None, :]) / dense_score[..., None]
    return TaskPart(100 * share, 100 * pulls, categories, clusters)


def _kept_parts(dense: Mapping[str, TaskScore], pruned: Mapping[str, TaskScore]) -> dict[str, TaskPart]:
    """Returns each task's retention in percent, as a ratio linearized in the groups."""
    parts = {}
    for task, dense_score in dense.items():
        pruned_score = pruned[task]
        if not np.array_equal(dense_score.names, pruned_score.names):
            raise ValueError(f"retention: the two models answered different questions of {task}")
        if dense_score.score > 0:
            parts[task] = kept_share(
                dense_score.values[0],
                pruned_score.values,
                dense_score.weights,
                dense_score.categories,
                dense_score.clusters,
            )
    if not parts:
        warnings.warn("retention: the dense model scores 0 on every task, so there is nothing to keep", stacklevel=3)
    return parts


def _estimates(parts: Mapping[str, TaskPart]) -> dict[str, Estimate]:
    """Returns the estimates of each task and of their mean, which is NaN if there is no task."""
    if not parts:
        return {"average": Estimate(np.nan, np.nan, np.nan)}
    means = {task: mean_over([part]) for task, part in parts.items()} | {"average": mean_over(list(parts.values()))}
    return {task: Estimate.of(float(value), spread) for task, (value, spread) in means.items()}


@dataclass(frozen=True)
class Fluency:
    """Shares of answers that did not end before they were cut off (None: not recorded), and that only repeat."""

    unended: float | None
    repeating: float

    @classmethod
    def of(cls, answers: pd.DataFrame) -> Self:
        """Computes the shares in a table of answers; ``unended`` counts only answers for which it was recorded."""
        ended = answers.get("ended", pd.Series(dtype=bool)).dropna().astype(bool)
        repeating = float(answers["prediction"].map(only_repeats).mean())
        return cls(float((~ended).mean()) if len(ended) else None, repeating)


def only_repeats(text: str) -> bool:
    """Whether a text repeats one piece: twice in full, and at least the beginning of a third time.

    A number is not a repetition. The time is quadratic in the text's length: meant for short answers.

    >>> [only_repeats(text) for text in ("a cat, a cat, a c", "no no no", "no no", "a cat", "111", "")]
    [True, True, False, False, False, False]
    """
    stripped = text.strip()
    if stripped.isdigit():
        return False
    return any(stripped[length:] == stripped[:-length] for length in range(1, (len(stripped) + 1) // 2))
