"""A claim, the paper's number for it, ours, and the verdict."""

from dataclasses import dataclass
from typing import Literal

from atv.evaluation.scores import Estimate

Verdict = Literal["reproduced", "not reproduced", "undecided", "holds", "does not hold"]


@dataclass(frozen=True)
class Finding:
    """A claim that ``ours`` exceeds ``bound``; the verdict is its confidence interval's.

    Attributes:
        claim: one sentence.
        paper: the paper's number with its unit, or "no number"; empty for a claim that the paper does not make.
        ours: our number with its interval.
        unit: of our number and of the bound, such as "points of retention".
        bound: what our number must exceed.
        count: what stands behind our number, such as "1,300 questions, 3 seeds".
        note: the likely reason where the claim does not hold, or what differs from the paper's set-up.
    """

    claim: str
    paper: str
    ours: Estimate
    unit: str
    bound: float = 0.0
    count: str = ""
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the interval says: all of it above the bound, all of it at or below the bound, or neither."""
        if self.ours.low > self.bound:
            return "reproduced" if self.paper else "holds"
        if self.ours.high <= self.bound:
            return "not reproduced" if self.paper else "does not hold"
        return "undecided"
