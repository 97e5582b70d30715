"""Prints what is about to run and what it may cost, before anything starts."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments import estimate
from experiments.devices import Device
from experiments.estimate import Size
from experiments.runs import PaperRun

# Number of parameters above which running on the CPU calls for a warning.
LARGE = 1e9


def show_plan(
    console: Console, runs: Sequence[PaperRun], size: Size | None, samples: int, devices: Sequence[Device]
) -> None:
    """Prints a row per run with its state and expected hours, then the totals, their basis, and warnings."""
    gpus = sum(map(bool, devices))
    table = Table("run", "state", "prune, hours", "evaluate, hours")
    hours = []
    for run in runs:
        prune, evaluate = (0.0, 0.0) if size is None else _hours(run, size, samples, gpus)
        hours.append(prune + evaluate if run.state != "finished" else 0.0)
        table.add_row(
            run.name, run.state, *("?" if size is None else f"{step_hours:.2f}" for step_hours in (prune, evaluate))
        )
    console.print(table)
    if size is None:
        console.print(f"{runs[0].base}: its size is unknown, so there is no estimate")
    else:
        _print_totals(console, runs, size, samples, devices, hours)


def _hours(run: PaperRun, size: Size, samples: int, gpus: int) -> tuple[float, float]:
    rate = estimate.rate(gpus)
    evaluate = estimate.evaluation_hours(size, run.asking.benchmarks, run.asking.limit, rate)
    if run.variant is None:
        return 0.0, evaluate
    return estimate.pruning_hours(size, run.variant.method, samples, rate), evaluate


def _print_totals(
    console: Console,
    runs: Sequence[PaperRun],
    size: Size,
    samples: int,
    devices: Sequence[Device],
    hours: Sequence[float],
) -> None:
    gpus = sum(map(bool, devices))
    unfinished = [run for run in runs if run.state != "finished" and run.variant]
    wall_hours = max(*hours, sum(hours) / len(devices))
    devices_text = f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "the CPU"
    disk = estimate.disk_bytes(size, len(unfinished), runs[0].keep_model, len(devices))
    free = shutil.disk_usage(_existing(runs[0].folder)).free
    console.print(
        f"about {wall_hours:.1f} hours on {devices_text} ({sum(hours):.1f} hours in a single process)", soft_wrap=True
    )
    console.print(
        f"about {disk / 1e9:.0f} GB of disk, excluding data sets; {free / 1e9:.0f} GB are free", soft_wrap=True
    )
    console.print(_basis(runs[0], size, samples, gpus), soft_wrap=True)
    if not gpus and size.parameters > LARGE:
        console.print(
            f"[bold]no GPU[/bold]: {size.parameters / 1e9:.1f} B parameters on the CPU, "
            f"{wall_hours:,.0f} hours expected"
        )
    if disk > free:
        console.print(f"[bold]disk[/bold]: {disk / 1e9:.0f} GB expected, {free / 1e9:.0f} GB are free", soft_wrap=True)


def _basis(run: PaperRun, size: Size, samples: int, gpus: int) -> str:
    questions = estimate.questions(run.asking.benchmarks, run.asking.limit)
    return (
        f"A rule of thumb, not a measurement: {size.parameters / 1e9:.2f} B parameters. Pruning: the paper's seconds "
        f"for LLaVA-NeXT 8B, scaled by parameters and by {samples} samples of {size.visual + estimate.CAPTION} tokens. "
        f"Evaluation: {questions:,} questions of {size.visual + estimate.PROMPT} tokens, 2 operations per token and "
        f"parameter at {estimate.rate(gpus):.0e} per second on {'a GPU' if gpus else 'all cores'}, and "
        f"{estimate.OVERHEAD} seconds per question."
    )


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
