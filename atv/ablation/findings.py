"""Findings: a claim, the paper's number for it, our number, and the verdict."""

from dataclasses import dataclass
from typing import Literal

from atv.records.typed import Finite
from atv.statistics.estimates import CONFIDENCE, LEAST_P, Estimate

Verdict = Literal["reproduced", "not reproduced", "practically equal", "undecided", "holds", "does not hold"]
# Differences of fewer points of retention count as none, unless a claim says otherwise.
POINT = 1.0
# In place of the paper's number, if the paper makes the claim without one.
NO_NUMBER = "no number"


@dataclass(frozen=True)
class Finding:
    """A claim that ``ours`` exceeds ``bound``; the verdict follows from the confidence interval of ``ours``.

    Attributes:
        claim: the claim in one sentence.
        paper: the paper's number with its unit, or ``NO_NUMBER``; empty for a claim that the paper does not make.
        ours: our number with its interval.
        unit: unit of our number, the bound and the margin, such as "points of retention".
        bound: the value that our number must exceed.
        count: what our number rests on, such as "1,300 questions, 3 seeds".
        note: the likely reason if the claim does not hold, or what differs from the paper's set-up.
        margin: distance from the bound within which a number is practically equal to it; ``POINT`` for differences of
            retention; None if the claim is not a comparison, so that being equal would say nothing.
        printed: the paper's number in our unit, if it prints one.
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
        """What the interval says, by the first of these rules that applies:

        1. It lies above the bound: *reproduced*, or *holds* for a claim that the paper does not make.
        2. It lies at or below the bound: *not reproduced*, or *does not hold*. If there is a margin, answers that
           differ nowhere, whose interval is the bound itself, are left to the next rule.
        3. It lies within the margin: *practically equal*.
        4. Otherwise: *undecided*.

        The first two verdicts are not given if there are so few questions that chance alone could turn all of them one
        way: such a claim is *undecided*, however narrow its interval is. Direction (1, 2) comes before equality (3),
        since the claim is one of direction.
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
        """Whether the whole interval is nearer to the bound than the margin."""
        return self.margin is not None and max(self.bound - self.ours.low, self.ours.high - self.bound) < self.margin

    @property
    def p(self) -> float | None:
        """p-value: 1 - the highest confidence at which the interval gives the same verdict.

        For an undecided finding, 1 - the highest confidence at which the interval would lie on one side of the bound.
        For a direction, at least the smallest p that its questions can show. None if the bounds are not a confidence
        interval, or are of an earlier version. If the interval has a higher confidence than 95%, as at an early look, p
        is scaled up by 5% / (1 - that confidence).
        """
        if self.ours.spread is None:
            return None
        distance = abs(self.ours.value - self.bound)
        is_equal = self.verdict == "practically equal" and self.margin is not None
        p_value = self.ours.spread.p(self.margin - distance if is_equal and self.margin is not None else distance)
        p_value = p_value if is_equal else max(p_value, self._least_p)
        return min(p_value * (1 - CONFIDENCE) / (1 - self.ours.confidence), 1.0)

    @property
    def _least_p(self) -> float:
        """Smallest p of a direction that the questions can show, 0 if below 1e-15; 0 if the claim rests on none."""
        least = self.ours.spread.least_p if self.ours.spread is not None and self.ours.runs else 0.0
        return least if least > LEAST_P else 0.0

    @property
    def remark(self) -> str:
        """What the verdict alone leaves open: a difference too small to matter, or the paper's own below the margin."""
        if self.margin is None or not self.within or self.verdict == "undecided":
            return ""
        if self.verdict != "practically equal":
            return f"But by less than the margin of {self.margin:g}."
        if self.printed is None:
            return f"Any difference is below the margin of {self.margin:g}."
        beginning = f"The paper's own difference, {abs(self.printed - self.bound):g}, is"
        if abs(self.printed - self.bound) < self.margin:
            return f"{beginning} below the margin of {self.margin:g}, too: this neither repeats nor contradicts it."
        return f"{beginning} not below the margin of {self.margin:g}: so great a one is not found here."
