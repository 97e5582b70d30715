"""The command-line interface: each ``atv COMMAND`` calls one function of ``atv.commands``."""

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

# Maximum length of an error message in characters: ours are shorter, but a library may quote a whole file.
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
# First words of two-word commands (``masks_pack`` is ``atv masks pack``), with their help texts.
GROUPS = {"masks": "Publish masks: pack them, apply them to a fresh base model, or compare two sets of them."}
KINDS: dict[str, type[Any]] = {**RULES, "calibration": CalibrationData}
# Flags, which take no value.
SWITCHES = ("print_lmms_eval",)


def parser(asked: str | None = None) -> Parser:
    """Builds the parser of all commands; plug-ins must already be imported.

    Args:
        asked: the command whose options to add, or the first word of a two-word command. None adds the options of all
            commands, which is slow.
    """
    top_parser = Parser(prog="atv", description="Prune and decouple Large Vision-Language Models.")
    commands = {"": top_parser.add_subcommands(required=True, dest="command")}
    for command in COMMANDS:
        help_paragraphs = paragraphs(command)
        rules_help = _rules_help(command) if command in (prune, quantize) else None
        command_parser = Parser(description="\n\n".join(help_paragraphs), epilog=rules_help)
        if asked in (None, _first_word(command)):
            _add_options(command_parser, command)
        group, _, name = command.__name__.rpartition("_")
        if group not in commands:
            commands[group] = _add_command_group(commands[""], group)
        commands[group].add_subcommand(name, command_parser, help=help_paragraphs[0])
    return top_parser


def _first_word(command: Callable[..., None]) -> str:
    return command.__name__.partition("_")[0]


def _add_options(parser: Parser, command: Callable[..., None]) -> None:
    parser.add_argument("--config", action="config", help="YAML file with these options; later ones override it.")
    for heading, options in groupby(options_of(command), key=lambda option: option.heading):
        _add_under_heading(parser, heading, command, {option.name: option.help for option in options})


def _add_command_group(commands: Any, name: str) -> Any:
    """Adds the first word of several two-word commands, and returns the object to add these commands to."""
    group = Parser(description=GROUPS[name])
    commands.add_subcommand(name, group, help=GROUPS[name])
    return group.add_subcommands(required=True, dest="command")


def _add_under_heading(
    parser: Parser, heading: str, command: Callable[..., None], help_texts: Mapping[str, str]
) -> None:
    """Adds some of a command's options under a heading; ``help_texts`` maps their names to their help texts."""
    group = parser.add_argument_group(heading)
    # Folders are positional arguments.
    if "folder" in help_texts:
        group.add_argument("folder", type=Path, help=help_texts["folder"])
    if "folders" in help_texts:
        group.add_argument("folders", nargs="+", type=str, help=help_texts["folders"])
    for switch in help_texts.keys() & set(SWITCHES):
        group.add_argument(f"--{switch}", f"--{switch.replace('_', '-')}", action="store_true", help=help_texts[switch])
    option_dataclasses, other_options = parts_of(command), parameters_of(command).keys() - help_texts.keys()
    for option_dataclass in option_dataclasses.values():
        group.add_class_arguments(option_dataclass, as_group=False, skip=other_options)
    group.add_function_arguments(
        command, as_group=False, skip={"folder", "folders", *SWITCHES, *other_options, *option_dataclasses}
    )
    for action in group._group_actions:
        if action.dest in help_texts:
            action.help = help_texts[action.dest]


def _rules_help(command: Callable[..., None]) -> str:
    """Lists every class that a command accepts as a rule, with a one-line description of each."""
    rule_options = [field for field in KINDS if field in parameters_of(command)]
    lines = [f"Classes to choose from (--{rule_options[0]}.help CLASS, and so on, explains the arguments of a class):"]
    for field in rule_options:
        rules = plugins.subclasses(KINDS[field])
        lines += ["", f"{field}:", *(f"  {rule.__name__}: {paragraphs(rule)[0].replace('``', '')}" for rule in rules)]
    return "\n".join(lines)


def _out_of_memory(error: BaseException) -> bool:
    """Whether a device or the CPU's allocator ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _advice(error: BaseException) -> str:
    """Tells the user how to avoid an error; empty if the error message already does."""
    if _out_of_memory(error):
        return (
            "; use fewer --samples, a smaller --batch_size, smaller pictures or shorter texts, or --offload disk. "
            "Finished blocks are kept"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free space or choose another folder. Finished work is kept: the same command resumes it"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Wrong input prints one line on standard error and returns 2; SIGTERM returns 143, ^C 130."""
    arguments = [with_underscores(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    commands = {command.__name__: command for command in COMMANDS}
    WORDS.set(arguments)
    try:
        load_plugins(arguments)
        first_words = {_first_word(command) for command in COMMANDS}
        top_parser = parser(next((word for word in arguments if word in first_words), None))
        parsed = top_parser.instantiate(top_parser.parse_args(arguments))
        command_words, namespace = [parsed.command], parsed[parsed.command]
        if command_words[0] in GROUPS:
            command_words, namespace = [*command_words, namespace.command], namespace[namespace.command]
        options = namespace.as_dict()
        options.pop("config", None)
        command = commands["_".join(command_words)]
        command(**gathered(command, options))
    except (ValueError, OSError) as error:
        print(f"atv: error: {short(error, LONGEST_ERROR)}{_advice(error)}", file=sys.stderr)
        return 2
    except CellsFailed as error:
        print(f"atv: error: some cells failed; the others are kept:\n{error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        print(f"atv: error: out of memory: {error}{_advice(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("atv: interrupted; the same command resumes from what its output folder holds", file=sys.stderr)
        return 128 + signal.SIGINT
    except Preempted as preempted:
        print(f"atv: {preempted}", file=sys.stderr)
        return 128 + signal.SIGTERM
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
