"""Looks at growing results: how much is asked before each, and how sure a verdict must be there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from atv.ablation.findings import Finding


@dataclass(frozen=True)
class Look:
    """Verdicts after so many groups of each task and seeds.

    Attributes:
        share: of the 5% of wrong verdicts. The shares of all looks add up to 5%, so that whoever stops at the first
            look that decides is wrong no more often than who looks once (Bonferroni); most is kept for the last look,
            so that going on to the end costs little (as O'Brien and Fleming have it).
    """

    groups: int
    seeds: int
    share: float

    @property
    def confidence(self) -> float:
        """Of the intervals that give the verdicts."""
        return 1 - self.share

    def judged(self, finding: Finding) -> Finding:
        """The finding with this look's interval, if it rests on questions; any other as it is."""
        if finding.ours.spread is None or not finding.ours.runs:
            return finding
        return replace(finding, ours=finding.ours.at(self.confidence))


# Of all groups of a task: a fifth, half, all.
PARTS = (0.2, 0.5, 1.0)
SEEDS = (3, 4, 5)
SHARES = (0.005, 0.015, 0.03)
# Of a handful of groups no answer may differ by chance, and an interval without any width decides everything.
FEWEST = 50


def looks(groups: int) -> Sequence[Look]:
    """The looks at data of so many groups a task, fixed before anything is run.

    Raises:
        ValueError: for too few groups to be parted.
    """
    if groups < FEWEST:
        raise ValueError(f"decide: expected at least {FEWEST} groups of questions of each task, got {groups}")
    counts = [round(part * groups) for part in PARTS]
    return [Look(*look) for look in zip(counts, SEEDS, SHARES, strict=True)]
