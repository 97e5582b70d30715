"""The command line that runs an ablation again, made of what its run.json says."""

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
# Of these None is a value to be asked for; of all others it is the default.
NULLABLE = ("groups",)


def run_again(run: Mapping[str, Any], results: Path) -> str:
    """Every recorded option, defaults too (they may change), quoted for a shell.

    Args:
        run: what run.json says.
        results: the folder that the results lie in.
    """
    given = {name: run[name] for name in RECORDED if name in run and (run[name] is not None or name in NULLABLE)}
    drawn = {"seed": run["seeds"][0]}
    if not run.get("decide"):  # which counts seeds by itself
        claimed = len(run["seeds"])
        drawn |= {"seeds": run.get("whole_seeds", claimed), "claimed_seeds": claimed}
    # A notebook's class has no file.
    file = {"file": from_here(run["file"])} if run["file"] else {}
    options = file | given | drawn | {"results": results}
    return shlex.join(["atv", "ablate", *(word for name, value in options.items() for word in _words(name, value))])


def _words(name: str, value: Any) -> list[str]:
    """A class by its name, and its arguments as options of their own."""
    if isinstance(value, dict) and "class" in value:
        arguments = {argument: given for argument, given in value.items() if argument != "class" and given is not None}
        inner = [word for argument, given in arguments.items() for word in (f"--{name}.{argument}", _written(given))]
        return [f"--{name}", str(value["class"]), *inner]
    return [f"--{name}", "null" if value is None else _written(value)]


def _written(value: Any) -> str:
    """A value as the command line reads it: what holds others as JSON."""
    return json.dumps(_nested(value), ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


def _nested(value: Any) -> Any:
    """A value with the classes that it holds as the parser takes them, {class_path, init_args}."""
    if isinstance(value, list):
        return [_nested(item) for item in value]
    if not isinstance(value, dict):
        return value
    held = {name: _nested(item) for name, item in value.items()}
    return {"class_path": held.pop("class"), "init_args": held} if "class" in held else held
