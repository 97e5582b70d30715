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
# Of an interval of 95%.
_TAIL = 0.025
# Up to 13 clusters that differ, all swaps are tried.
SWAPS = 9999
# Resamples and swaps at once, for the memory.
_BATCH = 100
# Differences of sums that were added in another order.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Design:
    """How scores of units make one number: ``weights`` times the mean over each part's units, added up.

    A unit is what has a score of its own (a question, or the rotations or pair that count as one); a part is a task, or
    a category where a score is the mean over categories; a cluster is what belongs together, such as all units about
    one picture, and may reach over several parts.

    Attributes:
        clusters: of each unit, numbered from 0 (units,).
        parts: of each unit, numbered from 0 (units,).
        weights: of the parts, 1 in sum (parts,).
    """

    clusters: NDArray[np.int64]
    parts: NDArray[np.int64]
    weights: Floats

    @classmethod
    def of(cls, clusters: ArrayLike, parts: ArrayLike | None = None, weights: ArrayLike | None = None) -> Self:
        """Numbers what clusters and parts are called.

        Args:
            clusters: any labels (units,).
            parts: any labels (units,); None is one part.
            weights: of the parts, in the order of their sorted labels; None weights them equally.

        Raises:
            ValueError: for no units, or arrays that do not fit together.
        """
        _, numbered = np.unique(np.asarray(clusters), return_inverse=True)
        own = (
            np.zeros(len(numbered), np.int64) if parts is None else np.unique(np.asarray(parts), return_inverse=True)[1]
        )
        if not len(numbered) or len(own) != len(numbered):
            raise ValueError(f"expected a cluster and a part of each unit, got {len(numbered)} and {len(own)}")
        shares = np.ones(own.max() + 1) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (own.max() + 1,):
            raise ValueError(f"expected {own.max() + 1} weights, one a part, got {len(shares)}")
        return cls(numbered, own, shares / shares.sum())

    @property
    def count(self) -> int:
        """Of clusters."""
        return int(self.clusters.max()) + 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Units of each part (parts,)."""
        return np.bincount(self.parts)

    def by_seed(self, scores: Floats) -> Floats:
        """The number that each seed's scores (seeds, units) make: (seeds,)."""
        means = [np.bincount(self.parts, weights=own) / self.sizes for own in scores]
        return np.stack(means) @ self.weights

    def number(self, scores: Floats) -> float:
        """The number that scores (seeds, units) make, the mean of the seeds."""
        return float(self.by_seed(scores).mean())

    def shifts(self, scores: Floats) -> Floats:
        """What each cluster adds to the number of scores (units,): (clusters,)."""
        own = scores * (self.weights / self.sizes)[self.parts]
        return np.bincount(self.clusters, weights=own, minlength=self.count).astype(np.float64)

    def pulls(self, scores: Floats) -> Floats:
        """How far each cluster pulls the number of scores (units,) from where it is, 0 in sum: (clusters,).

        A unit pulls by its distance from its part's mean. One that is a part alone would not, though another might
        well have stood there: it keeps its distance from the mean of all.
        """
        means = np.bincount(self.parts, weights=scores) / self.sizes
        made = self.shifts(scores - np.where(self.sizes > 1, means, scores.mean())[self.parts])
        return made - made.mean()


@dataclass(frozen=True)
class Effect:
    """By how much a second model's number exceeds the first's.

    Attributes:
        value, low, high: the difference and its 95% interval: a bootstrap over clusters, and t over seeds where there
            are several, their distances from the value added as squares (Graybill and Wang, 1980). With one seed it is
            the interval of other questions, not of other seeds.
        p: of no difference, two-sided.
        test: "exact" where all ways to swap the two models' answers were counted, else "permutation".
        clusters: how many were resampled.
    """

    value: float
    low: float
    high: float
    p: float
    test: Test
    clusters: int


def paired(first: ArrayLike, second: ArrayLike, design: Design, *, same_seeds: bool = False) -> Effect:
    """The second's number minus the first's, on the same questions.

    Args:
        first, second: scores (seeds, units), each with its own number of seeds; (units,) is one seed.
        same_seeds: whether row i of both was made with the same seed.

    Raises:
        ValueError: for scores that do not fit the design, or no numbers.
    """
    before, after = (_scores(values, design) for values in (first, second))
    gap = after.mean(0) - before.mean(0)
    value, (low, high) = design.number(gap[None]), bootstrap_interval(gap, design)
    by_seed = [after - before] if same_seeds else [after, before]
    reach = _reach_of_seeds([design.by_seed(scores) for scores in by_seed])
    p, test = permutation_p(design.shifts(gap))
    low, high = value - np.hypot(value - low, reach), value + np.hypot(high - value, reach)
    return Effect(value, float(low), float(high), p, test, design.count)


def bootstrap_interval(scores: Floats, design: Design) -> tuple[float, float]:
    """The 95% interval of the number that scores (units,) make, by bootstrap of the clusters.

    Resampled is what each cluster adds (the delta method): parts keep their weights, also where few units of one, or
    none, are drawn. One cluster alone tells of no spread, and has no bounds.

    Source: Hesterberg (2015), "What Teachers Should Know About the Bootstrap", for the expansion: a percentile interval
    of few clusters is too narrow, by the root of n/(n-1) and by Student's t against the normal.
    """
    if (count := design.count) == 1:
        return -np.inf, np.inf
    expanded = np.sqrt(count / (count - 1)) * student.isf(_TAIL, count - 1) / norm.isf(_TAIL)
    pulls, value = design.pulls(scores) * expanded, design.number(scores[None])
    made = bootstrap((pulls,), np.sum, n_resamples=RESAMPLES, batch=_BATCH, method="percentile", rng=0)
    low, high = np.round(value + np.array(made.confidence_interval), 12)
    return float(low), float(high)


def _reach_of_seeds(numbers: Sequence[Floats]) -> float:
    """By how much other seeds move a sum of means: t over each, squares added; one seed alone adds nothing.

    Args:
        numbers: of each mean, the number by seed (seeds,).
    """
    means = [mean_estimate(by_seed) for by_seed in numbers if len(by_seed) > 1]
    return float(np.sqrt(sum((mean.high - mean.value) ** 2 for mean in means)))


def permutation_p(shifts: Floats) -> tuple[float, Test]:
    """The two-sided p-value of no difference, when either model might have given either answers, cluster by cluster.

    Exact by the binomial distribution (McNemar's test) where all clusters that differ count alike, such as single
    questions that are right or wrong; by all swaps where those are few; else by random swaps.

    Args:
        shifts: what each cluster adds to the difference (clusters,).
    """
    moved = shifts[np.abs(shifts) > _NOTHING]
    if not len(moved):
        return 1.0, "exact"
    if np.ptp(np.abs(moved)) <= _NOTHING:
        return float(binomtest(int((moved > 0).sum()), len(moved)).pvalue), "exact"
    moved = moved / np.abs(moved).max()

    def total(swapped: Floats, axis: int) -> Floats:
        # Sums that are alike are so however they are added up.
        return np.round(swapped.sum(axis), 9)

    found = permutation_test(
        (moved,), total, permutation_type="samples", n_resamples=SWAPS, vectorized=True, batch=_BATCH, rng=0
    )
    return min(float(found.pvalue), 1.0), "exact" if 2 ** len(moved) <= SWAPS else "permutation"


def _scores(values: ArrayLike, design: Design) -> Floats:
    scores = np.atleast_2d(np.asarray(values, np.float64))
    if scores.ndim != 2 or scores.shape[1] != len(design.parts) or not len(scores):
        raise ValueError(f"expected scores (seeds, {len(design.parts)}), got {np.shape(values)}")
    if not np.isfinite(scores).all():
        raise ValueError("expected scores that are numbers")
    return scores


def corrected(p: Sequence[float], against: Literal["any false one", "a share of false ones"]) -> list[float]:
    """The p-values of several comparisons, in their order.

    Args:
        against: "any false one" holds the chance of one or more (Holm, 1979), "a share of false ones" the false
            discovery rate (Benjamini and Hochberg, 1995).
    """
    method = {"any false one": "holm", "a share of false ones": "fdr_bh"}[against]
    return [float(value) for value in multipletests(p, method=method)[1]] if len(p) else []


def written_p(p: float) -> str:
    """A p-value as a reader needs it.

    >>> written_p(0.0002), written_p(0.0312), written_p(1.0)
    ('<0.001', '0.031', '1.000')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"
