"""Paired statistics of two models' scores on the same questions: plain arrays in, one effect out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, bootstrap, norm, permutation_test
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from atv.statistics.estimates import mean_estimate

Floats = NDArray[np.float64]
Test = Literal["exact", "permutation"]
RESAMPLES = 2000
# Each tail of a 95% interval.
_TAIL = 0.025
# All swaps are tried if at most 13 clusters differ.
SWAPS = 9999
# Number of resamples and swaps at once, to limit memory.
_BATCH = 100
# Largest difference that comes from adding sums in a different order.
_ROUNDING_ERROR = 1e-12


@dataclass(frozen=True)
class Design:
    """How the scores of units make one number: the sum of ``weights`` times the mean over each part's units.

    A unit has a score of its own (a question, or the rotations or the pair that count as one). A part is a task, or a
    category if a score is the mean over categories. A cluster is a set of units that belong together, such as all units
    about one picture, and may span several parts.

    Attributes:
        clusters: cluster of each unit, numbered from 0 (units,).
        parts: part of each unit, numbered from 0 (units,).
        weights: weight of each part, summing to 1 (parts,).
    """

    clusters: NDArray[np.int64]
    parts: NDArray[np.int64]
    weights: Floats

    @classmethod
    def of(cls, clusters: ArrayLike, parts: ArrayLike | None = None, weights: ArrayLike | None = None) -> Self:
        """Builds a design from labels of clusters and parts.

        Args:
            clusters: any labels (units,).
            parts: any labels (units,); None means one part.
            weights: weights of the parts, in the order of their sorted labels; None weights them equally.

        Raises:
            ValueError: if there are no units, or the arrays do not fit together.
        """
        _, cluster_numbers = np.unique(np.asarray(clusters), return_inverse=True)
        part_numbers = (
            np.zeros(len(cluster_numbers), np.int64)
            if parts is None
            else np.unique(np.asarray(parts), return_inverse=True)[1]
        )
        if not len(cluster_numbers) or len(part_numbers) != len(cluster_numbers):
            raise ValueError(
                f"expected one cluster and one part per unit, got {len(cluster_numbers)} and {len(part_numbers)}"
            )
        part_weights = np.ones(part_numbers.max() + 1) if weights is None else np.asarray(weights, np.float64)
        if part_weights.shape != (part_numbers.max() + 1,):
            raise ValueError(f"expected {part_numbers.max() + 1} weights, one per part, got {len(part_weights)}")
        return cls(cluster_numbers, part_numbers, part_weights / part_weights.sum())

    @property
    def count(self) -> int:
        """Number of clusters."""
        return int(self.clusters.max()) + 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of units in each part (parts,)."""
        return np.bincount(self.parts)

    def by_seed(self, scores: Floats) -> Floats:
        """Returns each seed's number (seeds,) from scores (seeds, units)."""
        means = [np.bincount(self.parts, weights=seed_scores) / self.sizes for seed_scores in scores]
        return np.stack(means) @ self.weights

    def number(self, scores: Floats) -> float:
        """Returns the number from scores (seeds, units), as the mean over seeds."""
        return float(self.by_seed(scores).mean())

    def shifts(self, scores: Floats) -> Floats:
        """Returns what each cluster adds to the number (clusters,) from scores (units,)."""
        weighted_scores = scores * (self.weights / self.sizes)[self.parts]
        return np.bincount(self.clusters, weights=weighted_scores, minlength=self.count).astype(np.float64)

    def pulls(self, scores: Floats) -> Floats:
        """Returns how far each cluster moves the number (clusters,), summing to 0, from scores (units,).

        A unit's pull is its distance from its part's mean. A unit that is the only one of its part would have none,
        although another unit might well have been drawn: it keeps its distance from the overall mean.
        """
        means = np.bincount(self.parts, weights=scores) / self.sizes
        pulls = self.shifts(scores - np.where(self.sizes > 1, means, scores.mean())[self.parts])
        return pulls - pulls.mean()


@dataclass(frozen=True)
class Effect:
    """By how much a second model's number exceeds the first's.

    Attributes:
        value, low, high: the difference and its 95% interval: a bootstrap over clusters and, if there are several
            seeds, t over seeds; their distances from the value are added as squares (Graybill and Wang, 1980). With one
            seed, the interval covers other questions, not other seeds.
        p: two-sided p-value of no difference.
        test: "exact" if all ways to swap the two models' answers were counted, else "permutation".
        clusters: number of clusters that were resampled.
    """

    value: float
    low: float
    high: float
    p: float
    test: Test
    clusters: int


def paired(first: ArrayLike, second: ArrayLike, design: Design, *, same_seeds: bool = False) -> Effect:
    """Returns the second model's number minus the first's, on the same questions.

    Args:
        first, second: scores (seeds, units), each with its own number of seeds; (units,) is one seed.
        same_seeds: whether row i of both was made with the same seed.

    Raises:
        ValueError: if scores do not fit the design or are not finite numbers.
    """
    first_scores, second_scores = (_scores(values, design) for values in (first, second))
    gap = second_scores.mean(0) - first_scores.mean(0)
    value, (low, high) = design.number(gap[None]), bootstrap_interval(gap, design)
    by_seed = [second_scores - first_scores] if same_seeds else [second_scores, first_scores]
    seed_reach = _reach_of_seeds([design.by_seed(scores) for scores in by_seed])
    p, test = permutation_p(design.shifts(gap))
    low, high = value - np.hypot(value - low, seed_reach), value + np.hypot(high - value, seed_reach)
    return Effect(value, float(low), float(high), p, test, design.count)


def bootstrap_interval(scores: Floats, design: Design) -> tuple[float, float]:
    """Returns the 95% interval of the number from scores (units,), by a bootstrap over clusters.

    It resamples what each cluster adds (the delta method), so parts keep their weights even if few units of a part, or
    none, are drawn. One cluster alone shows no spread and has infinite bounds.

    Source: Hesterberg (2015), "What Teachers Should Know About the Bootstrap", for the expansion: a percentile interval
    of few clusters is too narrow, by the root of n/(n-1) and by Student's t relative to the normal distribution.
    """
    if (count := design.count) == 1:
        return -np.inf, np.inf
    expansion = np.sqrt(count / (count - 1)) * student.isf(_TAIL, count - 1) / norm.isf(_TAIL)
    pulls, value = design.pulls(scores) * expansion, design.number(scores[None])
    resampled = bootstrap((pulls,), np.sum, n_resamples=RESAMPLES, batch=_BATCH, method="percentile", rng=0)
    low, high = np.round(value + np.array(resampled.confidence_interval), 12)
    return float(low), float(high)


def _reach_of_seeds(numbers: Sequence[Floats]) -> float:
    """Returns how far other seeds move a sum of means: t over each, squares added; one seed alone adds nothing.

    Args:
        numbers: for each mean, its number for each seed (seeds,).
    """
    means = [mean_estimate(by_seed) for by_seed in numbers if len(by_seed) > 1]
    return float(np.sqrt(sum((mean.high - mean.value) ** 2 for mean in means)))


def permutation_p(shifts: Floats) -> tuple[float, Test]:
    """Returns the two-sided p-value of no difference: in each cluster, either model might have given either answers.

    The p-value is exact by the binomial distribution (McNemar's test) if all clusters that differ count alike, such as
    single questions that are right or wrong. Otherwise it is computed from all swaps if these are few, else from random
    swaps.

    Args:
        shifts: what each cluster adds to the difference (clusters,).
    """
    nonzero_shifts = shifts[np.abs(shifts) > _ROUNDING_ERROR]
    if not len(nonzero_shifts):
        return 1.0, "exact"
    if np.ptp(np.abs(nonzero_shifts)) <= _ROUNDING_ERROR:
        return float(binomtest(int((nonzero_shifts > 0).sum()), len(nonzero_shifts)).pvalue), "exact"
    nonzero_shifts = nonzero_shifts / np.abs(nonzero_shifts).max()

    def total(swapped: Floats, axis: int) -> Floats:
        # Equal sums must be equal in whatever order they are added up.
        return np.round(swapped.sum(axis), 9)

    test_result = permutation_test(
        (nonzero_shifts,), total, permutation_type="samples", n_resamples=SWAPS, vectorized=True, batch=_BATCH, rng=0
    )
    return min(float(test_result.pvalue), 1.0), "exact" if 2 ** len(nonzero_shifts) <= SWAPS else "permutation"


def _scores(values: ArrayLike, design: Design) -> Floats:
    scores = np.atleast_2d(np.asarray(values, np.float64))
    if scores.ndim != 2 or scores.shape[1] != len(design.parts) or not len(scores):
        raise ValueError(f"expected scores of shape (seeds, {len(design.parts)}), got {np.shape(values)}")
    if not np.isfinite(scores).all():
        raise ValueError("expected scores that are finite numbers")
    return scores


def corrected(p: Sequence[float], against: Literal["any false one", "a share of false ones"]) -> list[float]:
    """Returns the corrected p-values of several comparisons, in the same order.

    Args:
        against: "any false one" controls the chance of one or more false differences (Holm, 1979), "a share of false
            ones" the false discovery rate (Benjamini and Hochberg, 1995).
    """
    method = {"any false one": "holm", "a share of false ones": "fdr_bh"}[against]
    return [float(value) for value in multipletests(p, method=method)[1]] if len(p) else []


def written_p(p: float) -> str:
    """Formats a p-value for a reader.

    >>> written_p(0.0002), written_p(0.0312), written_p(1.0)
    ('<0.001', '0.031', '1.000')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"
