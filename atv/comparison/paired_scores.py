"""Paired statistics of two models' scores on the same questions: plain arrays in, one effect out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, permutation_test
from statsmodels.stats.multitest import multipletests

Floats = NDArray[np.float64]
Test = Literal["exact", "permutation"]
RESAMPLES = 2000
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

    def sums(self, scores: Floats) -> Floats:
        """Scores (seeds, units) added up by cluster and part: (seeds, clusters, parts)."""
        shape = (self.count, len(self.weights))
        place = self.clusters * shape[1] + self.parts
        added = [np.bincount(place, weights=row, minlength=shape[0] * shape[1]) for row in scores]
        return np.reshape(added, (len(scores), *shape))

    def numbers(self, scores: Floats, drawn: NDArray[np.int64]) -> Floats:
        """The number that scores make where every cluster counts so many times: (resamples, seeds).

        Args:
            scores: (seeds, units).
            drawn: how often each cluster counts (resamples, clusters). A part of which none was drawn is left out.
        """
        size = drawn @ self.sums(np.ones((1, len(self.parts))))[0]
        total = np.einsum("rc,scp->rsp", drawn, self.sums(scores), optimize=True)
        there = np.where(size > 0, self.weights, 0)
        means = total / np.maximum(size, 1)[:, None]
        return np.einsum("rsp,rp->rs", means, there / there.sum(1, keepdims=True))

    def number(self, scores: Floats) -> float:
        """The number that scores (seeds, units) make, the mean of the seeds."""
        return float(self.numbers(scores, np.ones((1, self.count), np.int64)).mean())

    def shifts(self, scores: Floats) -> Floats:
        """What each cluster adds to the number, mean of the seeds: (clusters,)."""
        size = np.bincount(self.parts, minlength=len(self.weights))
        return self.sums(scores).mean(0) @ (self.weights / size)


@dataclass(frozen=True)
class Effect:
    """By how much a second model's number exceeds the first's.

    Attributes:
        value, low, high: the difference and its 95% bootstrap interval.
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
        same_seeds: whether row i of both was made with the same seed, so that seeds are drawn together.

    Raises:
        ValueError: for scores that do not fit the design, or no numbers.
    """
    before, after = (_scores(values, design) for values in (first, second))
    drawn = differences_drawn(before, after, design, same_seeds=same_seeds)
    low, high = np.percentile(drawn, (2.5, 97.5))
    gap = after.mean(0, keepdims=True) - before.mean(0, keepdims=True)
    p, test = swapped(design.shifts(gap))
    return Effect(design.number(gap), float(low), float(high), p, test, design.count)


def differences_drawn(first: Floats, second: Floats, design: Design, *, same_seeds: bool = False) -> Floats:
    """The difference in each bootstrap resample of clusters, and of seeds where there are several: (resamples,).

    Of n seeds n - 1 are drawn, which gives the mean of n its variance (Rao and Wu, 1988). Of one seed nothing is
    drawn: the interval is that of other questions, not of other seeds.

    Args:
        first, second, same_seeds: as for ``paired``.
    """
    rng = np.random.default_rng(0)
    parts = []
    for drawn in _clusters_drawn(design.count, rng):
        before, after = design.numbers(first, drawn), design.numbers(second, drawn)
        of_second = _seeds_drawn(len(second), len(drawn), rng)
        of_first = of_second if same_seeds else _seeds_drawn(len(first), len(drawn), rng)
        parts.append((after * of_second).sum(1) - (before * of_first).sum(1))
    return np.concatenate(parts)


def swapped(shifts: Floats) -> tuple[float, Test]:
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
    found = permutation_test(
        (moved,), np.sum, permutation_type="samples", n_resamples=SWAPS, vectorized=True, batch=_BATCH, rng=0
    )
    return min(float(found.pvalue), 1.0), "exact" if 2 ** len(moved) <= SWAPS else "permutation"


def holm(p: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, corrected together (Holm, 1979)."""
    return [float(value) for value in multipletests(p, method="holm")[1]] if len(p) else []


def _scores(values: ArrayLike, design: Design) -> Floats:
    scores = np.atleast_2d(np.asarray(values, np.float64))
    if scores.ndim != 2 or scores.shape[1] != len(design.parts) or not len(scores):
        raise ValueError(f"expected scores (seeds, {len(design.parts)}), got {np.shape(values)}")
    if not np.isfinite(scores).all():
        raise ValueError("expected scores that are numbers")
    return scores


def _clusters_drawn(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn: (resamples, clusters) in batches."""
    for start in range(0, RESAMPLES, _BATCH):
        rows = min(_BATCH, RESAMPLES - start)
        chosen = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)


def _seeds_drawn(seeds: int, resamples: int, rng: np.random.Generator) -> Floats:
    """The weight of each seed: (resamples, seeds), 1 in sum."""
    if seeds == 1:
        return np.ones((resamples, 1))
    return rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), resamples) / (seeds - 1)
