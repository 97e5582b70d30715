"""Runs no more cells than verdicts need: look by look, only those that an undecided finding rests on.

How much is asked before each look, and how certain a verdict must be at it, is fixed before anything is run.
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

# Shares of a task's groups at the looks: a fifth, half, all.
PARTS = (0.2, 0.5, 1.0)
SEEDS = (3, 4, 5)
SHARES = (0.005, 0.015, 0.03)
# In a handful of groups it may be chance that no answer differs, and an interval of zero width decides everything.
FEWEST = 50


@dataclass(frozen=True)
class Look:
    """Verdicts after a number of groups per task and a number of seeds.

    Attributes:
        share: this look's share of the 5% of wrong verdicts. The shares of all looks add up to 5%, so that stopping at
            the first look that decides is wrong no more often than looking once (Bonferroni). The last look has the
            largest share, so that continuing to the end costs little (as in O'Brien and Fleming).
    """

    groups: int
    seeds: int
    share: float

    @property
    def confidence(self) -> float:
        """Confidence of the intervals that give the verdicts."""
        return 1 - self.share

    def judged(self, finding: Finding) -> Finding:
        """Returns the finding with this look's interval if it rests on questions, else unchanged."""
        if finding.ours.spread is None or not finding.ours.runs:
            return finding
        return replace(finding, ours=finding.ours.at(self.confidence))


def looks(groups: int) -> Sequence[Look]:
    """Returns the looks at data with this many groups per task, which are fixed before anything is run.

    Raises:
        ValueError: for too few groups to be divided.
    """
    if groups < FEWEST:
        raise ValueError(f"decide: expected at least {FEWEST} groups of questions of each task, got {groups}")
    counts = [round(part * groups) for part in PARTS]
    return [Look(*look) for look in zip(counts, SEEDS, SHARES, strict=True)]


@dataclass
class Decided:
    """How far the findings of an ablation are decided.

    Attributes:
        findings: findings by claim, each with the interval of the look that decided it, or of the last look.
        results: results over all questions that each cell was asked.
        look: the last look that was reached.
        outcomes: what became of the cells, by look and part of the questions.
        stopped: why there was no further look, if some finding is undecided.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    results: Results | None = None
    look: Look | None = None
    outcomes: list[CellOutcomes] = field(default_factory=list)
    stopped: str = ""

    @property
    def undecided(self) -> list[Finding]:
        """Undecided findings that more questions may still decide."""
        return [finding for finding in self.findings.values() if finding.verdict == "undecided" and finding.ours.runs]

    @property
    def cells(self) -> CellOutcomes:
        """What became of all cells."""
        finished = [finished_cell for outcomes in self.outcomes for finished_cell in outcomes.finished]
        failed = {cell: error for outcomes in self.outcomes for cell, error in outcomes.failed.items()}
        return CellOutcomes(finished, failed, [cell for outcomes in self.outcomes for cell in outcomes.missing])


class Decider:
    """Decides one ablation after another, within one budget for all of them.

    Args:
        looks: the looks, fixed before anything is run.
        store: takes a look's number, counted from 0, and returns the store of cells for the questions that it adds.
        seed: the first seed.
        budget: seconds that all cells may take. Finished cells from disk count too, so that a killed run decides as an
            uninterrupted one; None for no limit.
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
        """Seconds that all cells have taken so far; shared cells count once."""
        return sum(self._seconds.values())

    def begin(self) -> None:
        """Begins a pass over the ablations: the seconds of cells are counted from zero, as in a run from disk."""
        self._seconds.clear()

    def decide(self, ablation: Ablation, shard: Shard | None = None) -> Decided:
        """Looks until every finding is decided, everything is asked, or the next look would exceed the budget."""
        decided, finished_cells = Decided(), dict[tuple[str, int], FinishedCell]()
        is_wanted: Callable[[Cell], bool] = ablation.claimed
        for look_index, look in enumerate(self.looks):
            decided.stopped = self._over_budget_reason(look_index, decided, finished_cells)
            if decided.stopped:
                break
            outcomes = self._run_look(ablation, look_index, is_wanted, shard)
            decided.outcomes += outcomes
            if not decided.cells.whole:
                break
            finished_cells |= _joined_answers(outcomes)
            decided.results, decided.look = Results(list(finished_cells.values())), look
            _update_findings(decided, [look.judged(finding) for finding in ablation.findings(decided.results)])
            if not decided.undecided:
                break
            is_wanted = _needed_by(ablation, decided.undecided)
            if shard and any(part_outcomes.made for part_outcomes in outcomes) and look != self.looks[-1]:
                # All shards are to share the next look, which the slowest would otherwise take alone.
                cells_left = [cell for cell in ablation.cells(self.seed) if is_wanted(cell)]
                decided.outcomes.append(CellOutcomes(missing=cells_left))
                break
        return decided

    def _run_look(
        self, ablation: Ablation, look_index: int, is_wanted: Callable[[Cell], bool], shard: Shard | None
    ) -> list[CellOutcomes]:
        """Runs the wanted cells with the look's seeds on the questions of this look and of all looks before it.

        At the first look, finished cells of a run that asked the same questions are included too, at no cost.
        """
        seeds = range(self.seed, self.seed + self.looks[look_index].seeds)
        stores = [self._store(part) for part in range(look_index + 1)]
        first_store = stores[0]
        is_included = (
            (lambda cell: is_wanted(cell) or first_store.load(cell, ablation.name) is not None)
            if look_index == 0
            else is_wanted
        )
        outcomes = [run_ablation(ablation, store, seeds, 0, self.trainer, shard, is_included) for store in stores]
        finished = [
            finished_cell
            for part in outcomes
            for finished_cell in part.finished
            if finished_cell.cell.dense or is_wanted(finished_cell.cell)
        ]
        self._seconds |= {finished_cell.folder.name: finished_cell.seconds for finished_cell in finished}
        return outcomes

    def _over_budget_reason(
        self, look_index: int, decided: Decided, finished_cells: dict[tuple[str, int], FinishedCell]
    ) -> str:
        """Returns why the rest of the budget does not allow the look; empty if it does."""
        if self.budget is None:
            return ""
        seconds = self._expected_seconds(look_index, decided, finished_cells) if look_index else 0.0
        if self.spent + seconds <= self.budget:
            return ""
        return f"{self.spent / 3600:.1f} hours have been spent, and the next look would take {seconds / 3600:.1f} more"

    def _expected_seconds(
        self, look_index: int, decided: Decided, finished_cells: dict[tuple[str, int], FinishedCell]
    ) -> float:
        """Returns the seconds that the look is expected to take, given those of the cells of the look before."""
        previous_look, look = self.looks[look_index - 1], self.looks[look_index]
        seconds = 0.0
        for title in {run for finding in decided.undecided for run in finding.ours.runs}:
            cells = [finished_cell for (cell_title, _), finished_cell in finished_cells.items() if cell_title == title]
            prune_seconds = sum(finished_cell.record.seconds.get("prune", 0.0) for finished_cell in cells) / len(cells)
            seconds_per_group = (
                sum(finished_cell.seconds for finished_cell in cells) / len(cells) - look_index * prune_seconds
            ) / previous_look.groups
            seconds += seconds_per_group * (look.groups * look.seeds - previous_look.groups * previous_look.seeds)
            seconds += prune_seconds * ((look_index + 1) * look.seeds - look_index * previous_look.seeds)
        return seconds


def _needed_by(ablation: Ablation, undecided: Sequence[Finding]) -> Callable[[Cell], bool]:
    """Selects the cells that these findings rest on; all claimed ones if later cells follow from earlier ones."""
    if type(ablation).later is not Ablation.later:
        return lambda cell: ablation.claimed(cell) and not cell.measure
    titles = {run for finding in undecided for run in finding.ours.runs}
    return lambda cell: cell.title in titles


def _joined_answers(outcomes: Sequence[CellOutcomes]) -> dict[tuple[str, int], FinishedCell]:
    """Joins each cell's answers to all questions that it was asked, by title and seed."""
    cells_by_key: dict[tuple[str, int], dict[str, FinishedCell]] = {}
    for part_outcomes in outcomes:
        for finished in part_outcomes.finished:
            # A cell with its own suite is asked the same questions in every part.
            cells_by_key.setdefault((finished.cell.title, finished.cell.seed), {})[finished.folder.name] = finished
    parts_by_key = {key: list(parts.values()) for key, parts in cells_by_key.items()}
    return {key: replace(parts[0], further=tuple(parts[1:])) for key, parts in parts_by_key.items()}


def _update_findings(decided: Decided, findings: Sequence[Finding]) -> None:
    """Updates the findings, except for those that were already decided.

    Findings that rest on no questions are always updated: their interval has a confidence of 95% at every look, so only
    the last one may count.
    """
    for finding in findings:
        earlier = decided.findings.get(finding.claim)
        if earlier is None or earlier.verdict == "undecided" or not finding.ours.runs:
            decided.findings[finding.claim] = finding
