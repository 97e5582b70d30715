"""``atv power``"""

from pathlib import Path

from rich.console import Console

from atv.ablation.planning import DecisionPlan, can_be_planned, cheapest, total_seconds
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
    """Estimate how many questions and seeds would decide each finding of finished ablations, and how long that takes.

    Runs no cells, but only reads what atv ablate wrote: the results record how much a number varies with questions and
    with seeds, and how many seconds its cells took.

    Args:
        results: Folder that contains the ablations' folders, as atv ablate writes it.
        effect: Effect to detect: the distance of a number from the bound of its claim, in the finding's own unit.
        power: Probability of detecting such an effect, so that the finding is no longer undecided; between 0 and 1.
        groups: Maximum number of groups of questions per task. Default: no limit.
        seeds: Maximum number of seeds. A finding from several seeds needs at least 3, even if the maximum is lower.
    """
    at_least(1, groups=groups, seeds=seeds)
    console = Console(highlight=False, soft_wrap=True)
    collection = Collection.read(results, results / "report")
    console.print(f"to detect a difference of {effect:g} with a probability of {power:g}:")
    seconds, unplanned = 0.0, 0
    for section in collection.sections:
        seconds += _print_needs(console, section, effect, power, groups, seeds)
        unplanned += sum(not can_be_planned(finding) for finding in section.findings)
    console.print(f"\nall undecided findings together, with each cell run once: {duration(seconds)}")
    if unplanned:
        console.print(f"not planned: {unplanned} that depend on no question, or were written by an earlier version")


def _print_needs(
    console: Console, section: Section, effect: float, power: float, groups: int | None, seeds: int
) -> float:
    """Prints what each finding of an ablation needs; returns the seconds that the undecided ones need."""
    undecided, plans = [], []
    plannable = list(filter(can_be_planned, section.findings))
    if plannable:
        console.print(f"\n[bold]{section.name}[/bold]")
    for finding in plannable:
        plan = cheapest(finding, section, effect, power, groups, seeds)
        half_width = number((finding.ours.high - finding.ours.low) / 2, 2)
        console.print(f"  {finding.claim}\n    {finding.verdict}, ± {half_width}; {_need_text(plan)}")
        if plan is not None and finding.verdict == "undecided":
            undecided.append(finding)
            plans.append(plan)
    return total_seconds(undecided, plans, section)


def _need_text(plan: DecisionPlan | None) -> str:
    if plan is None:
        return "would need more groups or seeds than are available"
    seeds = f"{plan.seeds} seed{'' if plan.seeds == 1 else 's'}"
    return f"{plan.groups} groups of each task and {seeds}: {duration(plan.seconds)}"
