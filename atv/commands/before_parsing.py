"""Reads plug-ins and rules from the command line before the real parser, which needs the plug-ins' classes."""

import argparse
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml

from atv import plugins
from atv.allocation import Allocation
from atv.criteria import Criterion
from atv.data.text_files import read_text
from atv.data.wording import quoted, short
from atv.patterns import Pattern, parse_pattern
from atv.quantization import Quantizer
from atv.refinement import Reconstruction, Refinement
from atv.selection import TokenSelection

# The command line after ``atv``, for a command that starts itself again in more processes.
WORDS: ContextVar[Sequence[str]] = ContextVar("WORDS")
RULES: dict[str, type[Any]] = {
    "selection": TokenSelection,
    "criterion": Criterion,
    "pattern": Pattern,
    "allocation": Allocation,
    "refine": Refinement,
    "reconstruct": Reconstruction,
    "method": Quantizer,
}


def load_plugins(arguments: Sequence[str]) -> None:
    """Imports the --plugin files and looks up every rule.

    Raises:
        ValueError: if no class has the name of a rule; the message lists the choices.
    """
    values_by_option = _plugin_and_rule_values(arguments)
    files = [
        file for value in values_by_option.pop("plugin") for file in (value if isinstance(value, list) else [value])
    ]
    for file in files:
        if not isinstance(file, str):
            raise ValueError(f"plugin: expected a Python file or a list of them, got {quoted(file)}")
    plugins.load_files(files)
    for field, values in values_by_option.items():
        for value in values:
            for rule in value if isinstance(value, list) else [value]:
                if field == "pattern" and isinstance(rule, str):
                    parse_pattern(rule)
                elif isinstance(name := rule.get("class_path") if isinstance(rule, dict) else rule, str):
                    plugins.find(name, RULES[field], field)


def _plugin_and_rule_values(arguments: Sequence[str]) -> dict[str, list[Any]]:
    """Returns the values of --plugin and of the rules' options, from the command line and every --config file."""
    early_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for field in ("config", "plugin", *RULES):
        early_parser.add_argument(
            f"--{field}", f"--{field}.class_path", dest=field, action="append", default=[], nargs="?"
        )
    texts_by_option = vars(early_parser.parse_known_args(list(arguments))[0])
    configs = [_read_config(path) for path in texts_by_option.pop("config") if path]
    values_by_field = {
        field: [_parsed_value(text, field) for text in texts if text] for field, texts in texts_by_option.items()
    }
    return {
        field: values + [config[field] for config in configs if config.get(field)]
        for field, values in values_by_field.items()
    }


def _parsed_value(text: str, field: str) -> Any:
    """Parses text in braces or brackets as YAML; leaves other text alone, since YAML reads 2:16 as a number."""
    return _from_yaml(text, field) if text.startswith(("{", "[")) else text


def _read_config(path: str) -> dict[str, Any]:
    """Reads the options in a YAML file."""
    try:
        text = read_text(Path(path))
        # The real parser, which reads the file again, accepts only UTF-8.
        Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"config: {path!r} is not UTF-8; save it as UTF-8") from error
    except ValueError as error:
        raise ValueError(f"config: {error}") from error
    if (options := _from_yaml(text, f"config: {path!r}")) is None:
        raise ValueError(f"config: {path!r} is empty; it must map options to values")
    if not isinstance(options, dict):
        raise ValueError(f"config: {path!r} must map options to values, but it holds {quoted(options)}")
    return options


def _from_yaml(text: str, field: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{field} is not YAML: {short(error)}") from error
