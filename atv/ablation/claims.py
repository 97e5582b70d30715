"""Findings of the usual kinds, each made from a claim in words and the labels that it is about."""

from abc import ABC, abstractmethod

from atv.ablation.cell import Labels
from atv.ablation.findings import NO_NUMBER, POINT, Finding
from atv.statistics.estimates import Estimate

RETENTION = "points of retention"
ENGLISH = "points of a token's probability, the dense model's = 100"


class Claims(ABC):
    """Makes findings from numbers that a subclass looks up by labels.

    A finding's count, which says what its number rests on, is that of the first labels given.
    """

    @abstractmethod
    def retention(self, **labels: object) -> dict[str, Estimate]:
        """Returns task -> percent of the dense score kept, with "average" among the tasks."""

    @abstractmethod
    def difference(self, one: Labels, other: Labels, task: str = "average") -> Estimate:
        """Returns by how many points of retention ``one`` exceeds ``other``."""

    @abstractmethod
    def gaps_apart(self, wide: tuple[Labels, Labels], narrow: tuple[Labels, Labels]) -> Estimate:
        """Returns by how many points of retention one difference exceeds another."""

    @abstractmethod
    def english(self, one: Labels, other: Labels) -> Estimate:
        """Returns how many points more of plain English ``one`` keeps than ``other``."""

    @abstractmethod
    def count(self, task: str = "average", /, **labels: object) -> str:
        """Returns what a task's number rests on, in words."""

    @abstractmethod
    def english_count(self, **labels: object) -> str:
        """Returns what a number for plain English rests on, in words."""

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
        """Returns the finding that ``one`` keeps more than ``other``; less than a point of retention is no difference.

        Args:
            claim: the claim in one sentence.
            one, other: labels of what is compared.
            task: the task on which ``one`` keeps more; by default the average over all tasks.
            paper: what the paper says; ``NO_NUMBER`` if it claims the same without a number, empty if it does not.
            printed: the paper's own difference in points, if it prints one. Written out, it replaces a ``paper`` that
                is empty or ``NO_NUMBER``.
            note: as in ``Finding``.
        """
        ours, count = self.difference(one, other, task), self.count(task, **one)
        paper = _paper_text(paper, printed, "{:.2f} points")
        return Finding(claim, paper, ours, RETENTION, count=count, note=note, margin=POINT, printed=printed)

    def keeps_as_much(self, claim: str, one: Labels, other: Labels, *, within: float = POINT) -> Finding:
        """Returns our own finding that ``one`` keeps as much as ``other`` or loses less than ``within`` points."""
        ours = self.difference(one, other)
        return Finding(claim, "", ours, RETENTION, bound=-within, count=self.count(**one))

    def keeps_above(
        self, claim: str, one: Labels, bound: float, *, paper: str = "", printed: float | None = None
    ) -> Finding:
        """Returns the finding that ``one`` keeps more than ``bound`` percent of the dense score.

        Args:
            claim, paper: as for ``keeps_more``.
            printed: what it keeps in the paper, in percent.
        """
        ours, count = self.retention(**one)["average"], self.count(**one)
        paper = _paper_text(paper, printed, "{:g}%")
        return Finding(claim, paper, ours, "% of the dense score", bound=bound, count=count, printed=printed)

    def keeps_more_english(self, claim: str, one: Labels, other: Labels) -> Finding:
        """Returns our own finding that ``one`` keeps more of plain English than ``other``.

        Less than a point is no difference.
        """
        count = self.english_count(**one)
        return Finding(claim, "", self.english(one, other), ENGLISH, count=count, margin=POINT)

    def lie_further_apart(self, claim: str, wide: tuple[Labels, Labels], narrow: tuple[Labels, Labels]) -> Finding:
        """Returns our own finding that the pair ``wide`` lies further apart than the pair ``narrow``.

        The first of ``wide`` exceeds its second by more than the first of ``narrow`` exceeds its own; less than a point
        is no difference.
        """
        count = self.count(**wide[0])
        return Finding(claim, "", self.gaps_apart(wide, narrow), RETENTION, count=count, margin=POINT)


def _paper_text(paper: str, printed: float | None, number_format: str) -> str:
    """Returns what a finding says about the paper: the given words if there are any, else the number that it prints."""
    return paper if printed is None or paper not in ("", NO_NUMBER) else number_format.format(printed)
