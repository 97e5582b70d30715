"""Plans what would decide a finding: how many groups and seeds, and how long that takes, from finished cells."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from atv.ablation.findings import Finding
from atv.ablation.record import AblationRecord
from atv.records.cell_record import cell_title
from atv.statistics.estimates import CONFIDENCE, Spread

# The search for a number of groups ends here.
MANY_GROUPS = 1_000_000
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class DecisionPlan:
    """Numbers of groups (per task) and seeds, and the seconds of all cells that the finding rests on."""

    groups: int
    seeds: int
    seconds: float


@dataclass(frozen=True)
class CellCost:
    """Seconds that one cell with one seed takes: to prune, and to ask one group of every task."""

    pruned: float
    a_group: float

    def seconds(self, groups: int, seeds: int) -> float:
        return seeds * (self.pruned + self.a_group * groups)


def costs(record: AblationRecord, groups: int) -> dict[str, CellCost]:
    """Returns cell title -> mean cost over its seeds; ``groups`` is the number of groups per task that were asked.

    Records of this version contain how long pruning took; in earlier ones all seconds count as asking.
    """
    cells_by_title: dict[str, list[Mapping[str, Any]]] = {}
    for cell in record.run["cells"]:
        cells_by_title.setdefault(cell_title(cell["labels"]), []).append(cell)
    cost_by_title = {}
    for title, cells in cells_by_title.items():
        prune_seconds = float(np.mean([cell.get("pruned", 0.0) for cell in cells]))
        cost_by_title[title] = CellCost(
            prune_seconds, (float(np.mean([cell["seconds"] for cell in cells])) - prune_seconds) / groups
        )
    return cost_by_title


def can_be_planned(finding: Finding) -> bool:
    """Returns whether a finding rests on questions and was written with its spread."""
    return finding.ours.spread is not None and bool(finding.ours.runs)


def cheapest(
    finding: Finding,
    record: AblationRecord,
    effect: float,
    power: float = 0.8,
    most_groups: int | None = None,
    most_seeds: int = 5,
) -> DecisionPlan | None:
    """Returns the cheapest plan that tells a number apart from the bound if it lies ``effect`` away from it.

    A number of one seed is planned with one seed: it says nothing about what other seeds would change.

    Args:
        effect: distance from the bound, in the finding's unit.
        power: probability that the interval then excludes the bound.
        most_groups: number of groups that each task has; None for any number.

    Returns:
        None if all groups and seeds would not be enough.

    Raises:
        ValueError: for an effect or power out of range, or a finding that cannot be planned.
    """
    if effect <= 0 or not 0 < power < 1:
        raise ValueError(f"effect and power: expected effect > 0 and 0 < power < 1; got {effect} and {power}")
    spread = finding.ours.spread
    if spread is None or not can_be_planned(finding):
        raise ValueError(f"{finding.claim}: no question was asked for it, or an earlier version of atv wrote it")
    cost_by_title = costs(record, spread.groups)
    if missing := [run for run in finding.ours.runs if run not in cost_by_title]:
        raise ValueError(f"{finding.claim}: it rests on cells of {missing[0]!r}, but run.json has none")
    seed_counts = range(FEWEST_SEEDS, max(most_seeds, FEWEST_SEEDS) + 1) if spread.seeds > 1 else (1,)
    plans = []
    for seed_count in seed_counts:
        groups = _fewest_groups(spread, seed_count, effect, power, MANY_GROUPS if most_groups is None else most_groups)
        if groups is not None:
            plans.append(
                DecisionPlan(
                    groups, seed_count, sum(cost_by_title[run].seconds(groups, seed_count) for run in finding.ours.runs)
                )
            )
    return min(plans, key=lambda plan: (plan.seconds, plan.groups), default=None)


def _fewest_groups(spread: Spread, seeds: int, effect: float, power: float, most_groups: int) -> int | None:
    """Returns the fewest groups whose interval excludes the bound with this power; None if ``most`` are too few."""

    def enough(groups: int) -> bool:
        planned_spread = spread.planned(groups, seeds)
        if planned_spread.least_p > 1 - CONFIDENCE:
            return False
        return bool(planned_spread.half() + norm.ppf(power) * np.sqrt(planned_spread.variance) <= effect)

    return 1 + bisect_left(range(1, most_groups), True, key=enough) if enough(most_groups) else None


def total_seconds(findings: Sequence[Finding], plans: Sequence[DecisionPlan], record: AblationRecord) -> float:
    """Returns the seconds of all plans of one ablation; a cell of several findings counts once, at its greatest."""
    seconds_by_cell: dict[str, float] = {}
    for finding, plan in zip(findings, plans, strict=True):
        assert finding.ours.spread is not None
        cost_by_title = costs(record, finding.ours.spread.groups)
        for run in finding.ours.runs:
            seconds_by_cell[run] = max(
                seconds_by_cell.get(run, 0.0), cost_by_title[run].seconds(plan.groups, plan.seeds)
            )
    return sum(seconds_by_cell.values())
