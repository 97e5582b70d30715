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
    given = {name: run[name] for name in RECORDED if name in run and (run[name] is not None or name in NULLABLE)}
    drawn = {"seed": run["seeds"][0]}
    if not run.get("decide"):  # --decide sets the numbers of seeds itself
        claimed = len(run["seeds"])
        drawn |= {"seeds": run.get("whole_seeds", claimed), "claimed_seeds": claimed}
    # A class that was defined in a notebook has no file.
    file = {"file": from_here(run["file"])} if run["file"] else {}
    options = file | given | drawn | {"results": results}
    return shlex.join(["atv", "ablate", *(word for name, value in options.items() for word in _words(name, value))])


def _words(name: str, value: Any) -> list[str]:
    """Returns the words of an option; a class is given by its name, and each of its arguments as a separate option."""
    if isinstance(value, dict) and "class" in value:
        arguments = {argument: given for argument, given in value.items() if argument != "class" and given is not None}
        inner = [word for argument, given in arguments.items() for word in (f"--{name}.{argument}", _written(given))]
        return [f"--{name}", str(value["class"]), *inner]
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
    held = {name: _nested(item) for name, item in value.items()}
    return {"class_path": held.pop("class"), "init_args": held} if "class" in held else held
