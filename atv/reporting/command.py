"""The command line that runs an ablation again."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atv.records.files import from_here

# Options of ``atv ablate`` that run.json records under their own names.
RECORDED = (
    *("model", "calibration", "samples", "max_length", "min_pixels", "max_pixels"),
    *("evaluation", "split", "benchmark", "data", "groups", "max_new_tokens"),
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
    seeds = {"seed": run["seeds"][0], "seeds": run.get("whole_seeds", len(run["seeds"]))}
    options = {"file": from_here(run["file"])} | given | seeds | {"results": results}
    return shlex.join(["atv", "ablate", *(word for name, value in options.items() for word in _words(name, value))])


def _words(name: str, value: Any) -> list[str]:
    """A class by its name, and its arguments as options of their own."""
    if isinstance(value, dict):
        arguments = {argument: own for argument, own in value.items() if argument != "class" and own is not None}
        inner = [word for argument, own in arguments.items() for word in (f"--{name}.{argument}", str(own))]
        return [f"--{name}", value["class"], *inner]
    return [f"--{name}", "null" if value is None else str(value)]
