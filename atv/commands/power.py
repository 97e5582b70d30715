"""``atv power``"""

from pathlib import Path

from rich.console import Console

from atv.ablation.planning import DecisionPlan, can_be_planned, cheapest, together
from atv.plugins import at_least
from atv.reporting.collection import Collection
from atv.reporting.numbers import duration, number
from atv.reporting.section import Section


def power(
    results: Path = Path("results"),
    effect: float = 1.0,
    power: float = 0.8,
    groups: int | None = None,
    seeds: int = 5,
) -> None:
    """Say what would decide each finding of finished ablations: how many questions and seeds, and how long that takes.

    Reads what atv ablate wrote, and runs nothing: how much a number varies with questions and with seeds, and how many
    seconds its cells took, are in its results.

    Args:
        results: Folder above the folders of ablations, as atv ablate leaves it.
        effect: How far a number lies from the bound of its claim, in the finding's own unit: what is to be seen.
        power: Chance that it is then seen (the finding is no longer undecided), between 0 and 1.
        groups: Groups of questions of each task that there are at most. Default: any number.
        seeds: Seeds at most; 3 is the least where there are several.
    """
    at_least(1, groups=groups, seeds=seeds)
    console = Console(highlight=False, soft_wrap=True)
    collection = Collection.read(results, results / "report")
    console.print(f"to see a difference of {effect:g} with a chance of {power:g}:")
    seconds, unplanned = 0.0, 0
    for section in collection.sections:
        seconds += _tell(console, section, effect, power, groups, seeds)
        unplanned += sum(not can_be_planned(finding) for finding in section.findings)
    console.print(f"\nall undecided ones together, each cell once: {duration(seconds)}")
    if unplanned:
        console.print(f"not planned: {unplanned} that rest on no question, or were written by an earlier version")


def _tell(console: Console, section: Section, effect: float, power: float, groups: int | None, seeds: int) -> float:
    """Tells what each finding needs; returns the seconds of those that are undecided."""
    undecided, plans = [], []
    planned = list(filter(can_be_planned, section.findings))
    if planned:
        console.print(f"\n[bold]{section.name}[/bold]")
    for finding in planned:
        plan = cheapest(finding, section, effect, power, groups, seeds)
        half = number((finding.ours.high - finding.ours.low) / 2, 2)
        console.print(f"  {finding.claim}\n    {finding.verdict}, ± {half}; {_need(plan)}")
        if plan is not None and finding.verdict == "undecided":
            undecided.append(finding)
            plans.append(plan)
    return together(undecided, plans, section)


def _need(plan: DecisionPlan | None) -> str:
    if plan is None:
        return "would need more groups or seeds than there are"
    seeds = f"{plan.seeds} seed{'' if plan.seeds == 1 else 's'}"
    return f"{plan.groups} groups of each task and {seeds}: {duration(plan.seconds)}"
