"""A claim, the paper's number for it, ours, and the verdict."""

from dataclasses import dataclass
from typing import Literal

from atv.records.typed import Finite
from atv.statistics.estimates import CONFIDENCE, LEAST_P, Estimate

Verdict = Literal["reproduced", "not reproduced", "practically equal", "undecided", "holds", "does not hold"]
# Points of retention that are taken for none, unless a claim says otherwise.
POINT = 1.0
# What a paper that claims something prints of it.
NO_NUMBER = "no number"


@dataclass(frozen=True)
class Finding:
    """A claim that ``ours`` exceeds ``bound``; the verdict is its confidence interval's.

    Attributes:
        claim: one sentence.
        paper: the paper's number with its unit, or ``NO_NUMBER``; empty for a claim that the paper does not make.
        ours: our number with its interval.
        unit: of our number, the bound and the margin, such as "points of retention".
        bound: what our number must exceed.
        count: what stands behind our number, such as "1,300 questions, 3 seeds".
        note: the likely reason where the claim does not hold, or what differs from the paper's set-up.
        margin: how far from the bound is practically on it, ``POINT`` for differences of retention; None where the
            claim is no comparison, so that being equal would say nothing.
        printed: the paper's number in our unit, where it has one.
    """

    claim: str
    paper: str
    ours: Estimate
    unit: str
    bound: Finite = 0.0
    count: str = ""
    note: str = ""
    margin: Finite | None = None
    printed: Finite | None = None

    @property
    def verdict(self) -> Verdict:
        """What the interval says, by the first of these that is so:

        1. it lies above the bound: *reproduced*, or *holds* of a claim that the paper does not make;
        2. it lies at or below the bound: *not reproduced*, or *does not hold*. Answers that differ nowhere, whose
           interval is the bound itself, are left to the next where there is a margin;
        3. it lies within the margin: *practically equal*;
        4. else *undecided*.

        Of the first two, neither is said of so few questions that chance alone may turn all of them one way: however
        narrow its interval is, such a claim is *undecided*. Direction (1, 2) comes before equality (3), since the claim
        is one of direction.
        """
        alike = self.within and self.ours.low == self.bound == self.ours.high
        above, below = self.ours.low > self.bound, self.ours.high <= self.bound and not alike
        if (above or below) and self._least_p > 1 - self.ours.confidence:
            return "undecided"
        if above:
            return "reproduced" if self.paper else "holds"
        if below:
            return "not reproduced" if self.paper else "does not hold"
        return "practically equal" if self.within else "undecided"

    @property
    def within(self) -> bool:
        """Whether all of the interval is nearer to the bound than the margin."""
        return self.margin is not None and max(self.bound - self.ours.low, self.ours.high - self.bound) < self.margin

    @property
    def p(self) -> float | None:
        """1 - the highest confidence at which the interval says the same; of an undecided one, at which it would say
        more or less; of a direction no less than its questions can show. None for bounds that are no confidence
        interval, or of an earlier version.

        Of an interval wider than 95%, such as an early look's, as much greater as its share of the 5% is less.
        """
        if self.ours.spread is None:
            return None
        away = abs(self.ours.value - self.bound)
        equal = self.verdict == "practically equal" and self.margin is not None
        found = self.ours.spread.p(self.margin - away if equal and self.margin is not None else away)
        found = found if equal else max(found, self._least_p)
        return min(found * (1 - CONFIDENCE) / (1 - self.ours.confidence), 1.0)

    @property
    def _least_p(self) -> float:
        """Of any direction that the questions can show, told as 0 below 1e-15; 0 for a claim that rests on none."""
        least = self.ours.spread.least_p if self.ours.spread is not None and self.ours.runs else 0.0
        return least if least > LEAST_P else 0.0

    @property
    def remark(self) -> str:
        """What the verdict's word leaves open: a difference too small to matter, or the paper's below the margin."""
        if self.margin is None or not self.within or self.verdict == "undecided":
            return ""
        if self.verdict != "practically equal":
            return f"But by less than the margin of {self.margin:g}."
        if self.printed is None:
            return f"Any difference is below the margin of {self.margin:g}."
        own = f"The paper's own difference, {abs(self.printed - self.bound):g}, is"
        if abs(self.printed - self.bound) < self.margin:
            return f"{own} below the margin of {self.margin:g}, too: this neither repeats nor contradicts it."
        return f"{own} not below the margin of {self.margin:g}: so great a one is not found here."
