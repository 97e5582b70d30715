"""Programs that make a table: the dense model and its variants are run, or only priced, then compared."""

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
    parser = _parser(program, work)
    options = parser.instantiate(parser.parse_args(arguments)).as_dict()
    try:
        return 0 if work(**options) else 1
    except (ValueError, OSError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2


def _parser(program: str, work: Callable[..., bool]) -> ArgumentParser:
    """Options are the arguments of ``work``, explained by its docstring; those that are false until named take no
    value."""
    switches = [name for name, argument in signature(work).parameters.items() if argument.default is False]
    meanings = {argument.arg_name: argument.description for argument in parse(getdoc(work) or "").params}
    parser = ArgumentParser(prog=program)
    parser.add_function_arguments(work, skip={*switches})
    for switch in switches:
        parser.add_argument(f"--{switch.replace('_', '-')}", action="store_true", help=meanings[switch])
    return parser


def run_program(program: str, work: Callable[..., bool]) -> NoReturn:
    """``run_command`` as a process of its own: SIGTERM is an exception, so that the commands under way are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(run_command(program, work))
