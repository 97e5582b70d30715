"""What an ablation says of its results: findings of the usual kinds, from a claim in words and what it is about."""

from abc import ABC, abstractmethod

from atv.ablation.cell import Labels
from atv.ablation.findings import NO_NUMBER, POINT, Finding
from atv.statistics.estimates import Estimate

RETENTION = "points of retention"
ENGLISH = "points of a token's probability, the dense model's = 100"


class Claims(ABC):
    """Findings made of numbers that whoever derives from it looks up by labels.

    What stands behind a finding's number is told of the first labels it is given.
    """

    @abstractmethod
    def retention(self, **labels: object) -> dict[str, Estimate]:
        """Task -> percent of the dense score kept, "average" among them."""

    @abstractmethod
    def difference(self, one: Labels, other: Labels, task: str = "average") -> Estimate:
        """By how many points of retention ``one`` exceeds ``other``."""

    @abstractmethod
    def gaps_apart(self, wide: tuple[Labels, Labels], narrow: tuple[Labels, Labels]) -> Estimate:
        """By how many points of retention one difference exceeds another."""

    @abstractmethod
    def english(self, one: Labels, other: Labels) -> Estimate:
        """By how many points ``one`` keeps more of plain English than ``other``."""

    @abstractmethod
    def count(self, task: str = "average", /, **labels: object) -> str:
        """What stands behind a task's number, in words."""

    @abstractmethod
    def english_count(self, **labels: object) -> str:
        """What stands behind a number of plain English, in words."""

    def keeps_more(
        self,
        claim: str,
        one: Labels,
        other: Labels,
        *,
        task: str = "average",
        paper: str = "",
        printed: float | None = None,
        note: str = "",
    ) -> Finding:
        """The finding that ``one`` keeps more than ``other``, where less than a point of retention is no difference.

        Args:
            claim: one sentence.
            one, other: labels.
            task: of which it keeps more; by default of all, on average.
            paper: what the paper says; ``NO_NUMBER`` where it claims the same without one, empty where it does not.
            printed: the paper's own difference in points, where it has one. Its words take the place of an empty
                ``paper`` and of ``NO_NUMBER``.
            note: as of a ``Finding``.
        """
        ours, count = self.difference(one, other, task), self.count(task, **one)
        paper = _said(paper, printed, "{:.2f} points")
        return Finding(claim, paper, ours, RETENTION, count=count, note=note, margin=POINT, printed=printed)

    def keeps_as_much(self, claim: str, one: Labels, other: Labels, *, within: float = POINT) -> Finding:
        """The finding, ours alone, that ``one`` keeps as much as ``other`` or loses less than ``within`` points."""
        ours = self.difference(one, other)
        return Finding(claim, "", ours, RETENTION, bound=-within, count=self.count(**one))

    def keeps_above(
        self, claim: str, one: Labels, bound: float, *, paper: str = "", printed: float | None = None
    ) -> Finding:
        """The finding that ``one`` keeps more than ``bound`` percent of the dense score.

        Args:
            claim, paper: as of ``keeps_more``.
            printed: what it keeps in the paper, in percent.
        """
        ours, count = self.retention(**one)["average"], self.count(**one)
        paper = _said(paper, printed, "{:g}%")
        return Finding(claim, paper, ours, "% of the dense score", bound=bound, count=count, printed=printed)

    def keeps_more_english(self, claim: str, one: Labels, other: Labels) -> Finding:
        """The finding, ours alone, that ``one`` keeps more of plain English than ``other``, by a point or it is no
        difference."""
        count = self.english_count(**one)
        return Finding(claim, "", self.english(one, other), ENGLISH, count=count, margin=POINT)

    def lie_further_apart(self, claim: str, wide: tuple[Labels, Labels], narrow: tuple[Labels, Labels]) -> Finding:
        """The finding, ours alone, that the first of ``wide`` exceeds its second by more than the first of ``narrow``
        does its own, by a point or it is no difference."""
        count = self.count(**wide[0])
        return Finding(claim, "", self.gaps_apart(wide, narrow), RETENTION, count=count, margin=POINT)


def _said(paper: str, printed: float | None, form: str) -> str:
    """What a finding says of the paper: the number that it prints, unless there are words for it."""
    return paper if printed is None or paper not in ("", NO_NUMBER) else form.format(printed)
