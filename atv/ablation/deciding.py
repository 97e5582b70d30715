"""Runs no more cells than verdicts need: look by look, those alone that an undecided finding rests on.

How much is asked before each look, and how sure a verdict must be there, is fixed before anything is run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import lightning as L

from atv.ablation.base import Ablation
from atv.ablation.cell import Cell
from atv.ablation.findings import Finding
from atv.ablation.results import Results
from atv.ablation.runner import CellOutcomes, run_ablation
from atv.ablation.shard import Shard
from atv.ablation.store import CellStore, FinishedCell

# Of all groups of a task: a fifth, half, all.
PARTS = (0.2, 0.5, 1.0)
SEEDS = (3, 4, 5)
SHARES = (0.005, 0.015, 0.03)
# Of a handful of groups no answer may differ by chance, and an interval without any width decides everything.
FEWEST = 50


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


def looks(groups: int) -> Sequence[Look]:
    """The looks at data of so many groups a task, fixed before anything is run.

    Raises:
        ValueError: for too few groups to be parted.
    """
    if groups < FEWEST:
        raise ValueError(f"decide: expected at least {FEWEST} groups of questions of each task, got {groups}")
    counts = [round(part * groups) for part in PARTS]
    return [Look(*look) for look in zip(counts, SEEDS, SHARES, strict=True)]


@dataclass
class Decided:
    """How far an ablation came.

    Attributes:
        findings: each with the interval of the look that decided it, or of the last.
        results: all that was asked of every cell.
        look: the last that was reached.
        outcomes: what became of the cells, by look and part of the questions.
        stopped: why there was no further look, where some finding is undecided.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    results: Results | None = None
    look: Look | None = None
    outcomes: list[CellOutcomes] = field(default_factory=list)
    stopped: str = ""

    @property
    def undecided(self) -> list[Finding]:
        """Findings that more questions may still decide."""
        return [finding for finding in self.findings.values() if finding.verdict == "undecided" and finding.ours.runs]

    @property
    def cells(self) -> CellOutcomes:
        """What became of all cells."""
        finished = [done for part in self.outcomes for done in part.finished]
        failed = {cell: error for part in self.outcomes for cell, error in part.failed.items()}
        return CellOutcomes(finished, failed, [cell for part in self.outcomes for cell in part.missing])


class Decider:
    """Takes ablations in turn; what all of them may cost together is one budget.

    Args:
        looks: fixed before anything is run.
        store: the cells of a look's new questions, those that the look before did not ask; by the look's number.
        seed: the first.
        budget: seconds of all cells, finished ones from disk too, so that a killed run decides as a whole one; None is
            no limit.
    """

    def __init__(
        self,
        looks: Sequence[Look],
        store: Callable[[int], CellStore],
        seed: int,
        trainer: L.Trainer,
        budget: float | None = None,
    ) -> None:
        self.looks, self.seed, self.trainer, self.budget = looks, seed, trainer, budget
        self._store = cache(store)
        self._seconds: dict[str, float] = {}

    @property
    def spent(self) -> float:
        """Seconds of all cells so far, shared ones once."""
        return sum(self._seconds.values())

    def begin(self) -> None:
        """Begins a pass over the ablations: what cells cost is counted anew, as in a run from disk."""
        self._seconds.clear()

    def decide(self, ablation: Ablation, shard: Shard | None = None) -> Decided:
        """Looks until every finding is decided, all is asked, or the next look would cost more than is left."""
        decided, known = Decided(), dict[tuple[str, int], FinishedCell]()
        wanted: Callable[[Cell], bool] = ablation.claimed
        for number, look in enumerate(self.looks):
            decided.stopped = self._too_dear(number, decided, known)
            if decided.stopped:
                break
            outcomes = self._asked(ablation, number, wanted, shard)
            decided.outcomes += outcomes
            if not decided.cells.whole:
                break
            known |= _together(outcomes)
            decided.results, decided.look = Results(list(known.values())), look
            _take(decided, [look.judged(finding) for finding in ablation.findings(decided.results)])
            if not decided.undecided:
                break
            wanted = _needed(ablation, decided.undecided)
            if shard and any(part.made for part in outcomes) and look != self.looks[-1]:
                # The next look is for all shards to share: whoever is the slowest would take it alone.
                left = [cell for cell in ablation.cells(self.seed) if wanted(cell)]
                decided.outcomes.append(CellOutcomes(missing=left))
                break
        return decided

    def _asked(
        self, ablation: Ablation, number: int, wanted: Callable[[Cell], bool], shard: Shard | None
    ) -> list[CellOutcomes]:
        """Runs the wanted cells with the look's seeds on the questions of this look and all before it.

        At the first look finished cells of a run that asked the same are there to be seen, too, at no cost.
        """
        seeds = range(self.seed, self.seed + self.looks[number].seeds)
        stores = [self._store(part) for part in range(number + 1)]
        first = stores[0]
        seen = (lambda cell: wanted(cell) or first.load(cell, ablation.name) is not None) if number == 0 else wanted
        outcomes = [run_ablation(ablation, store, seeds, 0, self.trainer, shard, seen) for store in stores]
        finished = [done for part in outcomes for done in part.finished if done.cell.dense or wanted(done.cell)]
        self._seconds |= {done.folder.name: done.seconds for done in finished}
        return outcomes

    def _too_dear(self, number: int, decided: Decided, known: dict[tuple[str, int], FinishedCell]) -> str:
        """Why the look is not to be had for what is left of the budget; empty where it is."""
        if self.budget is None:
            return ""
        further = self._cost(number, decided, known) if number else 0.0
        if self.spent + further <= self.budget:
            return ""
        return f"{self.spent / 3600:.1f} hours are spent, the next look would take {further / 3600:.1f} more"

    def _cost(self, number: int, decided: Decided, known: dict[tuple[str, int], FinishedCell]) -> float:
        """Seconds that the look is expected to take, from those of the cells that the look before asked."""
        before, look = self.looks[number - 1], self.looks[number]
        seconds = 0.0
        for title in {run for finding in decided.undecided for run in finding.ours.runs}:
            cells = [done for (name, _), done in known.items() if name == title]
            pruned = sum(done.record.seconds.get("prune", 0.0) for done in cells) / len(cells)
            asked = (sum(done.seconds for done in cells) / len(cells) - number * pruned) / before.groups
            seconds += asked * (look.groups * look.seeds - before.groups * before.seeds)
            seconds += pruned * ((number + 1) * look.seeds - number * before.seeds)
        return seconds


def _needed(ablation: Ablation, undecided: Sequence[Finding]) -> Callable[[Cell], bool]:
    """The cells that they rest on; all that are claimed where later cells follow from earlier ones."""
    if type(ablation).later is not Ablation.later:
        return lambda cell: ablation.claimed(cell) and not cell.measure
    titles = {run for finding in undecided for run in finding.ours.runs}
    return lambda cell: cell.title in titles


def _together(outcomes: Sequence[CellOutcomes]) -> dict[tuple[str, int], FinishedCell]:
    """A cell's answers to all questions that it was asked, by title and seed."""
    by_cell: dict[tuple[str, int], dict[str, FinishedCell]] = {}
    for part in outcomes:
        for done in part.finished:
            # What a cell of its own suite was asked is the same in every part.
            by_cell.setdefault((done.cell.title, done.cell.seed), {})[done.folder.name] = done
    found = {key: list(parts.values()) for key, parts in by_cell.items()}
    return {key: replace(parts[0], further=tuple(parts[1:])) for key, parts in found.items()}


def _take(decided: Decided, findings: Sequence[Finding]) -> None:
    """What was decided stays as it was; all else is as it now is.

    So is what rests on no questions: its interval is of 95% at every look, so that the last one alone may count.
    """
    for finding in findings:
        earlier = decided.findings.get(finding.claim)
        if earlier is None or earlier.verdict == "undecided" or not finding.ours.runs:
            decided.findings[finding.claim] = finding
