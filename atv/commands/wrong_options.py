"""A parser of options that reports a wrong option in one line, as ``atv`` reports every other error."""

import re
import sys
from argparse import Action
from difflib import get_close_matches
from textwrap import fill
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from atv.data.wording import short

# Plain names for the types of options.
_TYPE_NAMES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "list": "a list"}
_TYPE_NAMES |= {"dict": "names with values", "NoneType": "null"}


class HelpPage(DefaultHelpFormatter):
    """Wraps each line of a description separately; continuations of an indented line are indented further."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for line in text.splitlines():
            own_indent = line[: len(line) - len(line.lstrip())]
            first_indent, later_indent = indent + own_indent, indent + (own_indent and own_indent + "  ")
            lines.append(fill(line.strip(), width, initial_indent=first_indent, subsequent_indent=later_indent))
        return "\n".join(lines)

    def _get_type_str(self, action: Action) -> str | None:
        type_text = super()._get_type_str(action)
        return type_text and re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", type_text)


class Parser(ArgumentParser):
    """Parser that exits with code 2 and one line that names the option, what was expected and what was given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpPage} | options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)  # Raises, so that jsonargparse can try another type for the value.
        command_parser = getattr(ex, "subcommand_parser", None) or self
        options = [option for action in command_parser._actions for option in action.option_strings]
        command = command_parser.prog.replace(" [options]", "")
        print(f"{command}: error: {plainly(message, options)}; {command} --help lists all options", file=sys.stderr)
        sys.exit(2)


def plainly(message: str, options: list[str]) -> str:
    """Rewrites an error message of jsonargparse as one plain line.

    >>> plainly('Parser key "samples":\\n  Expected a <class \\'int\\'>. Got value: 1000.0', [])
    'samples: expected a whole number, got 1000.0'
    >>> plainly("unrecognized arguments: --sparcity 0.5", ["--sparsity"])
    'no such option: --sparcity 0.5 (did you mean --sparsity?)'
    >>> plainly('Parser key "calibration":\\n  Got value: NestedArg(key=\\'caption\\', val=\\'x\\')', [])
    'calibration.caption: only a class has options; name one: --calibration CLASS --calibration.caption VALUE'

    Args:
        options: the options that the parser knows, to suggest the one that was probably meant.
    """
    if unknown := re.match(r"unrecognized arguments: (.*)|.*does not accept option '(.*)'", message):
        words = unknown[1] or f"--{unknown[2]}"
        close_options = get_close_matches(words.split()[0], options, 1, cutoff=0.75)
        return f"no such option: {short(words)}" + (f" (did you mean {close_options[0]}?)" if close_options else "")
    if required := re.match(r"the following arguments are required: \w+\.(.*)", message):
        return f"{required[1]} is required"
    field = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    kinds = re.findall(r"Expected (?:an? )?(?:<class '(\w+)'>|typing\.Literal\[(.*)\])", message)
    if nested := re.search(r"NestedArg\(key='(\w+)'", message):
        option = f"{field}.{nested[1]}"
        return f"{option}: only a class has options; name one: --{field} CLASS --{option} VALUE"
    given_value = re.search(r"(?:Given value|Got value): (.*)", message)
    if field and kinds and given_value:
        expected = dict.fromkeys(_TYPE_NAMES.get(kind, kind) or choices.replace("'", "") for kind, choices in kinds)
        return f"{field}: expected {' or '.join(expected)}, got {short(given_value[1])}"
    text = re.sub(r"Parser key \"[^\"]+\":|Problem with given class_path '[\w.]+\.(\w+)':", r"\1", message)
    text = re.sub(r"Option '(\w+)' is not accepted", r"has no \1", text)
    return short(f"{field}: {text}" if field else text)
