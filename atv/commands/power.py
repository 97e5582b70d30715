"""``atv power``"""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from atv.ablation.planning import can_be_planned, cheapest, together
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
    console = Console()
    collection = Collection.read(results, results / "report")
    console.print(f"to see a difference of {effect:g} with a chance of {power:g}:", highlight=False)
    table = Table("ablation", "finding", "verdict", "half-width", "groups", "seeds", "time", box=box.SIMPLE_HEAD)
    seconds, unplanned = 0.0, 0
    for section in collection.sections:
        seconds += _add(table, section, effect, power, groups, seeds)
        unplanned += sum(not can_be_planned(finding) for finding in section.findings)
    console.print(table)
    console.print(f"all undecided ones together, each cell once: {duration(seconds)}", highlight=False)
    if unplanned:
        console.print(f"not planned: {unplanned} that rest on no question, or were written by an earlier version")


def _add(table: Table, section: Section, effect: float, power: float, groups: int | None, seeds: int) -> float:
    """Adds a line a finding; returns the seconds of those that are undecided."""
    undecided, plans = [], []
    for finding in filter(can_be_planned, section.findings):
        plan = cheapest(finding, section, effect, power, groups, seeds)
        need = ("more than there are", "", "")
        if plan is not None:
            need = (str(plan.groups), str(plan.seeds), duration(plan.seconds))
        half = number((finding.ours.high - finding.ours.low) / 2, 2)
        table.add_row(section.name, finding.claim, finding.verdict, half, *need)
        if plan is not None and finding.verdict == "undecided":
            undecided.append(finding)
            plans.append(plan)
    return together(undecided, plans, section)
