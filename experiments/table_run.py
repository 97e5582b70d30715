"""Programs that make a table: run the dense model and its variants, or only estimate their cost, and compare them."""

import signal
import sys
from collections.abc import Callable, Sequence
from inspect import getdoc, signature
from pathlib import Path
from typing import Any, NoReturn

from docstring_parser import parse
from jsonargparse import ArgumentParser
from rich.console import Console
from transformers.utils import logging

from atv.records.files import writable
from experiments.devices import Commands, Device, devices, on_devices
from experiments.estimate import size_of
from experiments.grid import Variant
from experiments.plan import show_plan
from experiments.runs import DENSE, PaperQuestions, PaperRun


def run_table(
    chosen: Sequence[Variant],
    asking: PaperQuestions,
    folder: Path,
    keep_models: bool,
    dry_run: bool,
    write: Callable[[Path, PaperRun, Sequence[PaperRun]], str],
) -> bool:
    """Prints what the dense model and its variants may cost, runs what is left of them, and prints their table.

    ``write`` makes the table from the folder, the dense run and the other runs. Returns whether every run is finished;
    True after a dry run, which stops after the cost.
    """
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
    all_succeeded = run_all(console, [dense, *pruned], available)
    if dense.evaluated() and (table := write(folder, dense, pruned)):
        console.print(table, soft_wrap=True)
        console.print(f"table written to {folder / 'table.md'}")
    return all_succeeded


def run_all(console: Console, runs: Sequence[PaperRun], available: Sequence[Device]) -> bool:
    """Runs what is left and prints each failure; returns whether all runs succeeded."""
    unfinished, commands = [run for run in runs if run.state != "finished"], Commands()

    def work(run: PaperRun, device: Device) -> None:
        console.print(f"{run.name}: runs on {f'GPU {device}' if device else 'the CPU'}, logs in {run.folder}")
        run.run(commands, device)
        console.print(f"{run.name}: finished")

    failed = on_devices(unfinished, available, work, commands)
    for index, reason in failed.items():
        console.print(f"[bold]{unfinished[index].name} failed[/bold]: {reason}", soft_wrap=True)
    return not failed


def run_command(program: str, work: Callable[..., bool], arguments: list[str] | None = None) -> int:
    """Calls ``work`` with the options of a command line, and returns the exit code.

    Invalid input prints one line on standard error and returns 2. If a run failed, the code is 1.
    """
    logging.set_verbosity_error()
    parser = _parser(program, work)
    options = parser.instantiate(parser.parse_args(arguments)).as_dict()
    try:
        return 0 if work(**options) else 1
    except (ValueError, OSError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2


def _parser(program: str, work: Callable[..., bool]) -> ArgumentParser:
    """A parser whose options are the arguments of ``work``, with help texts from its docstring.

    Arguments that default to False become switches without a value.
    """
    switches = [name for name, argument in signature(work).parameters.items() if argument.default is False]
    help_texts = {argument.arg_name: argument.description for argument in parse(getdoc(work) or "").params}
    parser = ArgumentParser(prog=program)
    parser.add_function_arguments(work, skip={*switches})
    for switch in switches:
        parser.add_argument(f"--{switch.replace('_', '-')}", action="store_true", help=help_texts[switch])
    return parser


def run_program(program: str, work: Callable[..., bool]) -> NoReturn:
    """Runs ``run_command`` and exits. SIGTERM raises an exception, so that commands in progress are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(run_command(program, work))
