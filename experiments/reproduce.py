"""``make reproduce-paper MODEL=...``: the paper's grid on a real model, on as many GPUs as there are."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from rich.console import Console
from transformers.utils import logging

from atv.evaluation.benchmarks.loaded import chosen_benchmarks
from atv.records.files import writable
from experiments.devices import Commands, Device, devices, on_devices
from experiments.estimate import QUESTIONS, size_of
from experiments.grid import Variant, variants
from experiments.paper_tables import write_table
from experiments.plan import show_plan
from experiments.runs import DENSE, PaperQuestions, PaperRun

SWITCHES = {
    "keep_models": "Keep the pruned models. Default: deleted once evaluated, their reports and masks stay.",
    "dry_run": "Only print what would run, the hours and the disk.",
}


def reproduce(
    model: str,
    output: Path | None = None,
    methods: str | None = None,
    settings: str | None = None,
    benchmarks: list[str] | str = "all",
    data: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    keep_models: bool = False,
    dry_run: bool = False,
) -> bool:
    """Evaluate the dense model, then prune, verify and evaluate every variant; ends with retention beside the paper's.

    Nothing is asked. Finished runs are skipped, killed ones go on. Returns whether every run is finished.

    Args:
        model: A name of experiments/models, or a YAML file with options of atv prune, "model" among them.
        output: Folder of all runs. Default: results/reproduce/MODEL.
        methods: sparsegpt, wanda, amia, atv, with commas between them, or all. Default: all for the paper's models and
            your own, atv for the others.
        settings: 50, 60, 2_4, 4_8, with commas between them, or all. Default: all for the paper's models and your own,
            50 for the others.
        benchmarks: Of the nine, with commas between them, or a list.
        data: Folder with a local copy of the benchmarks' data sets (docs/evaluation.md). Default: the hub.
        limit: Only the first so many groups of each benchmark: a question with its rotations or its pair.
        batch_size: Questions generated at once.
        keep_models: Keep each pruned model's weights, of which else the report and the masks alone are left.
        dry_run: Say what would be run and what it would cost, and run nothing.
    """
    chosen = variants(model, methods, settings)
    asked = [benchmark.name for benchmark in chosen_benchmarks(benchmarks)]
    if unknown := [name for name in asked if name not in QUESTIONS]:
        raise ValueError(f"benchmarks: {', '.join(unknown)} is none of the nine: {', '.join(QUESTIONS)}")
    asking = PaperQuestions(asked, data, limit, batch_size)
    folder = output or Path("results") / "reproduce" / chosen[0].model_file.stem
    return run_table(chosen, asking, folder, keep_models, dry_run, write_table)


def run_table(
    chosen: Sequence[Variant],
    asking: PaperQuestions,
    folder: Path,
    keep_models: bool,
    dry_run: bool,
    write: Callable[[Path, PaperRun, Sequence[PaperRun]], str],
) -> bool:
    """Says what the dense model and its variants cost, runs what is left of them, and shows the table that ``write``
    makes of the folder, the dense run and the others; whether every run is finished."""
    options = chosen[0].options()
    pixels = {name: options[name] for name in ("min_pixels", "max_pixels") if options.get(name) is not None}
    common: dict[str, Any] = {"base": options["model"], "pixels": pixels, "asking": asking, "keep_model": keep_models}
    dense = PaperRun(folder / DENSE, **common)
    pruned = [PaperRun(folder / variant.name, **common, variant=variant) for variant in chosen]
    console, available = Console(), devices()
    show_plan(console, [dense, *pruned], size_of(options["model"]), options["samples"], available)
    if dry_run:
        return True
    writable(folder, "output")
    for run in (dense, *pruned):
        run.begin()
    whole = run_all(console, [dense, *pruned], available)
    if dense.evaluated() and (table := write(folder, dense, pruned)):
        console.print(table, soft_wrap=True)
        console.print(f"this table is in {folder / 'table.md'}")
    return whole


def run_all(console: Console, runs: Sequence[PaperRun], available: Sequence[Device]) -> bool:
    """Runs what is left, and names what failed; whether all went well."""
    left, commands = [run for run in runs if run.state != "finished"], Commands()

    def work(run: PaperRun, device: Device) -> None:
        console.print(f"{run.name}: on {f'GPU {device}' if device else 'the CPU'}, logs in {run.folder}")
        run.run(commands, device)
        console.print(f"{run.name}: finished")

    failed = on_devices(left, available, work, commands)
    for index, reason in failed.items():
        console.print(f"[bold]{left[index].name} failed[/bold]: {reason}", soft_wrap=True)
    return not failed


def run_command(program: str, work: Callable[..., bool], arguments: list[str] | None = None) -> int:
    """Calls ``work`` with a command line's options; wrong input is one line on standard error and exit code 2; a run
    that failed is 1."""
    logging.set_verbosity_error()
    top = ArgumentParser(prog=program)
    top.add_function_arguments(work, skip={*SWITCHES})
    for switch, meaning in SWITCHES.items():
        top.add_argument(f"--{switch.replace('_', '-')}", action="store_true", help=meaning)
    options = top.instantiate(top.parse_args(arguments)).as_dict()
    try:
        return 0 if work(**options) else 1
    except (ValueError, OSError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2


def run_program(program: str, work: Callable[..., bool]) -> NoReturn:
    """``run_command`` as a process of its own: SIGTERM is an exception, so that the commands under way are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(run_command(program, work))


if __name__ == "__main__":
    run_program("reproduce", reproduce)
