"""Builds the command line that reruns an ablation from its run.json."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atv.records.files import from_here

# Options of ``atv ablate`` that run.json records under their own names.
RECORDED = (
    *("model", "calibration", "samples", "max_length", "min_pixels", "max_pixels"),
    *("evaluation", "split", "benchmark", "data", "groups", "max_new_tokens"),
    *("language", "sparsities", "patterns", "decide", "budget", "plugin", "trust_remote_code"),
)
# For these, None must be given explicitly; for all others, it is the default.
NULLABLE = ("groups",)


def run_again(run: Mapping[str, Any], results: Path) -> str:
    """Returns the command with every recorded option, including defaults, which may change; quoted for a shell.

    Args:
        run: content of run.json.
        results: folder that contains the ablations' folders.
    """
    recorded = {name: run[name] for name in RECORDED if name in run and (run[name] is not None or name in NULLABLE)}
    seed_options = {"seed": run["seeds"][0]}
    if not run.get("decide"):  # --decide sets the numbers of seeds itself
        seed_count = len(run["seeds"])
        seed_options |= {"seeds": run.get("whole_seeds", seed_count), "claimed_seeds": seed_count}
    # A class that was defined in a notebook has no file.
    file_option = {"file": from_here(run["file"])} if run["file"] else {}
    options = file_option | recorded | seed_options | {"results": results}
    return shlex.join(["atv", "ablate", *(word for name, value in options.items() for word in _words(name, value))])


def _words(name: str, value: Any) -> list[str]:
    """Returns the words of an option; a class is given by its name, and each of its arguments as a separate option."""
    if isinstance(value, dict) and "class" in value:
        arguments = {
            argument: argument_value
            for argument, argument_value in value.items()
            if argument != "class" and argument_value is not None
        }
        argument_words = [
            word
            for argument, argument_value in arguments.items()
            for word in (f"--{name}.{argument}", _written(argument_value))
        ]
        return [f"--{name}", str(value["class"]), *argument_words]
    return [f"--{name}", "null" if value is None else _written(value)]


def _written(value: Any) -> str:
    """Formats a value for the command line: lists and mappings as JSON."""
    return json.dumps(_nested(value), ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


def _nested(value: Any) -> Any:
    """Returns a value with the classes in it in the form that the parser expects, {class_path, init_args}."""
    if isinstance(value, list):
        return [_nested(item) for item in value]
    if not isinstance(value, dict):
        return value
    converted = {name: _nested(item) for name, item in value.items()}
    return {"class_path": converted.pop("class"), "init_args": converted} if "class" in converted else converted
