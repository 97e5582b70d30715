"""What would decide a finding: how many groups of questions and seeds, and how long that takes, from finished cells."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from atv.ablation.findings import Finding
from atv.ablation.record import AblationRecord
from atv.records.cell_record import titled
from atv.statistics.estimates import CONFIDENCE, Spread

# Groups beyond which no number of questions is looked for.
MANY_GROUPS = 1_000_000
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class DecisionPlan:
    """So many groups (of each task) and seeds, and the seconds of all cells that the finding rests on."""

    groups: int
    seeds: int
    seconds: float


@dataclass(frozen=True)
class CellCost:
    """Seconds of one cell with one seed: to prune, and to ask one group of every task."""

    pruned: float
    a_group: float

    def seconds(self, groups: int, seeds: int) -> float:
        return seeds * (self.pruned + self.a_group * groups)


def costs(record: AblationRecord, groups: int) -> dict[str, CellCost]:
    """Cell's title -> its cost, mean of its seeds; ``groups`` of each task were asked.

    What a cell took to be pruned is in records of this version; in earlier ones all seconds count as asking's.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for cell in record.run["cells"]:
        found.setdefault(titled(cell["labels"]), []).append(cell)
    made = {}
    for title, cells in found.items():
        pruned = float(np.mean([cell.get("pruned", 0.0) for cell in cells]))
        made[title] = CellCost(pruned, (float(np.mean([cell["seconds"] for cell in cells])) - pruned) / groups)
    return made


def can_be_planned(finding: Finding) -> bool:
    """Whether a finding rests on questions, and was written with its spread."""
    return finding.ours.spread is not None and bool(finding.ours.runs)


def cheapest(
    finding: Finding,
    record: AblationRecord,
    effect: float,
    power: float = 0.8,
    most_groups: int | None = None,
    most_seeds: int = 5,
) -> DecisionPlan | None:
    """The cheapest plan by which a number that lies ``effect`` from the bound is told from it.

    A number of one seed is planned with one: it tells nothing of what others would change.

    Args:
        effect: in the finding's unit.
        power: chance that the interval then says so.
        most_groups: of each task there are; None is any number.

    Returns:
        None when all groups and seeds would not do.

    Raises:
        ValueError: for an effect or power out of range, or a finding that cannot be planned.
    """
    if effect <= 0 or not 0 < power < 1:
        raise ValueError(f"effect and power: expected more than 0, and between 0 and 1; got {effect} and {power}")
    spread = finding.ours.spread
    if spread is None or not can_be_planned(finding):
        raise ValueError(f"{finding.claim}: no question was asked for it, or an earlier version wrote it")
    cost = costs(record, spread.groups)
    if missing := [run for run in finding.ours.runs if run not in cost]:
        raise ValueError(f"{finding.claim}: it rests on cells of {missing[0]!r}, and run.json has none")
    seeds = range(FEWEST_SEEDS, max(most_seeds, FEWEST_SEEDS) + 1) if spread.seeds > 1 else (1,)
    plans = []
    for number in seeds:
        groups = _fewest(spread, number, effect, power, MANY_GROUPS if most_groups is None else most_groups)
        if groups is not None:
            plans.append(
                DecisionPlan(groups, number, sum(cost[run].seconds(groups, number) for run in finding.ours.runs))
            )
    return min(plans, key=lambda plan: (plan.seconds, plan.groups), default=None)


def _fewest(spread: Spread, seeds: int, effect: float, power: float, most: int) -> int | None:
    """The fewest groups whose interval leaves the bound out with this power, by bisection; None if ``most`` are few."""

    def enough(groups: int) -> bool:
        planned = spread.planned(groups, seeds)
        if planned.least_p > 1 - CONFIDENCE:
            return False
        return bool(planned.half() + norm.ppf(power) * np.sqrt(planned.variance) <= effect)

    return 1 + bisect_left(range(1, most), True, key=enough) if enough(most) else None


def together(findings: Sequence[Finding], plans: Sequence[DecisionPlan], record: AblationRecord) -> float:
    """Seconds of all plans of one ablation, a cell that several findings rest on counted once, at its greatest."""
    cost: dict[str, float] = {}
    for finding, plan in zip(findings, plans, strict=True):
        assert finding.ours.spread is not None
        by_title = costs(record, finding.ours.spread.groups)
        for run in finding.ours.runs:
            cost[run] = max(cost.get(run, 0.0), by_title[run].seconds(plan.groups, plan.seeds))
    return sum(cost.values())
