"""The command line: ``atv COMMAND``, one function of ``atv.commands`` each."""

import errno
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from atv import plugins
from atv.commands.ablate import CellsFailed, ablate
from atv.commands.before_parsing import RULES, WORDS, load_plugins
from atv.commands.card import card
from atv.commands.compare import compare
from atv.commands.dashboard import dashboard
from atv.commands.evaluate import evaluate
from atv.commands.finetune import finetune
from atv.commands.inspect import inspect
from atv.commands.masks_to_publish import masks_apply, masks_diff, masks_pack
from atv.commands.measure import measure
from atv.commands.models import models
from atv.commands.options import gathered, options_of, paragraphs, parameters_of, parts_of, with_underscores
from atv.commands.power import power
from atv.commands.prune import prune
from atv.commands.quantize import quantize
from atv.commands.report import report
from atv.commands.verify import verify
from atv.commands.wrong_options import Parser
from atv.data import CalibrationData
from atv.data.wording import short
from atv.runtime.preemption import Preempted

# Characters of an error's line: our own are shorter, a library may quote all that a file holds.
LONGEST_ERROR = 1000
COMMANDS: tuple[Callable[..., None], ...] = (
    prune,
    quantize,
    evaluate,
    finetune,
    ablate,
    power,
    inspect,
    compare,
    measure,
    report,
    verify,
    card,
    masks_pack,
    masks_apply,
    masks_diff,
    dashboard,
    models,
)
# Commands of two words: the functions of masks_pack and the like.
GROUPS = {"masks": "Masks as something to publish: pack them, put them on a fresh base model, compare two sets."}
KINDS: dict[str, type[Any]] = {**RULES, "calibration": CalibrationData}
# Options that need no value.
SWITCHES = ("print_lmms_eval",)


def parser(asked: str | None = None) -> Parser:
    """The parser of all commands; plug-ins must have been imported before.

    Args:
        asked: the command, or the first word of several, whose options alone are added, since those of all take a
            while; None adds all.
    """
    top = Parser(prog="atv", description="Prune and decouple Large Vision-Language Models.")
    commands = {"": top.add_subcommands(required=True, dest="command")}
    for command in COMMANDS:
        said = paragraphs(command)
        rules = _plugins_help(command) if command in (prune, quantize) else None
        below = Parser(description="\n\n".join(said), epilog=rules)
        if asked in (None, _first_word(command)):
            _add_options(below, command)
        group, _, name = command.__name__.rpartition("_")
        if group not in commands:
            commands[group] = _add_group(commands[""], group)
        commands[group].add_subcommand(name, below, help=said[0])
    return top


def _first_word(command: Callable[..., None]) -> str:
    return command.__name__.partition("_")[0]


def _add_options(parser: Parser, command: Callable[..., None]) -> None:
    parser.add_argument("--config", action="config", help="YAML file with these options; later ones override it.")
    for heading, options in groupby(options_of(command), key=lambda option: option.heading):
        _add(parser, heading, command, {option.name: option.help for option in options})


def _add_group(commands: Any, name: str) -> Any:
    """Adds a word that stands before several commands, and returns what these are added to."""
    group = Parser(description=GROUPS[name])
    commands.add_subcommand(name, group, help=GROUPS[name])
    return group.add_subcommands(required=True, dest="command")


def _add(parser: Parser, heading: str, command: Callable[..., None], said: Mapping[str, str]) -> None:
    """Adds options of a command under a heading; ``said`` is their help by name."""
    group = parser.add_argument_group(heading)
    # A command about one folder takes it without an option's name.
    if "folder" in said:
        group.add_argument("folder", type=Path, help=said["folder"])
    if "folders" in said:
        group.add_argument("folders", nargs="+", type=str, help=said["folders"])
    for switch in said.keys() & set(SWITCHES):
        group.add_argument(f"--{switch}", f"--{switch.replace('_', '-')}", action="store_true", help=said[switch])
    parts, others = parts_of(command), parameters_of(command).keys() - said.keys()
    for part in parts.values():
        group.add_class_arguments(part, as_group=False, skip=others)
    group.add_function_arguments(command, as_group=False, skip={"folder", "folders", *SWITCHES, *others, *parts})
    for action in group._group_actions:
        if action.dest in said:
            action.help = said[action.dest]


def _plugins_help(command: Callable[..., None]) -> str:
    """Every rule that a command takes, with what it does."""
    taken = [field for field in KINDS if field in parameters_of(command)]
    lines = [f"What can be named; --{taken[0]}.help CLASS, and so on, explains the arguments of a class:"]
    for field in taken:
        rules = plugins.subclasses(KINDS[field])
        lines += ["", f"{field}:", *(f"  {kind.__name__}: {paragraphs(kind)[0].replace('``', '')}" for kind in rules)]
    return "\n".join(lines)


def _out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the CPU's allocator, had no more."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _advice(error: BaseException) -> str:
    """What to change; empty where the message says it."""
    if _out_of_memory(error):
        return (
            "; use fewer --samples, a smaller --batch_size, smaller pictures or shorter texts, or --offload disk. "
            "Finished blocks are kept"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free space or choose another folder. What was finished is kept: the same command goes on"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Wrong input is one line on standard error and exit code 2; SIGTERM gives 143, ^C 130."""
    arguments = [with_underscores(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    commands = {command.__name__: command for command in COMMANDS}
    WORDS.set(arguments)
    try:
        load_plugins(arguments)
        first = {_first_word(command) for command in COMMANDS}
        top = parser(next((word for word in arguments if word in first), None))
        chosen = top.instantiate(top.parse_args(arguments))
        words, given = [chosen.command], chosen[chosen.command]
        if words[0] in GROUPS:
            words, given = [*words, given.command], given[given.command]
        options = given.as_dict()
        options.pop("config", None)
        command = commands["_".join(words)]
        command(**gathered(command, options))
    except (ValueError, OSError) as error:
        print(f"atv: error: {short(error, LONGEST_ERROR)}{_advice(error)}", file=sys.stderr)
        return 2
    except CellsFailed as error:
        print(f"atv: error: cells failed, the others are kept:\n{error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        print(f"atv: error: out of memory: {error}{_advice(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("atv: interrupted; the same command goes on from what its output folder keeps", file=sys.stderr)
        return 128 + signal.SIGINT
    except Preempted as stopped:
        print(f"atv: {stopped}", file=sys.stderr)
        return 128 + signal.SIGTERM
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
