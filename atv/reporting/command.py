"""The command line that runs an ablation again."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Options of ``atv ablate`` that run.json records under their own names.
RECORDED = ("model", "calibration", "samples", "evaluation", "split", "groups", "max_new_tokens")


def run_again(run: Mapping[str, Any], results: Path) -> str:
    """Every recorded option, defaults too (they may change), quoted for a shell.

    Args:
        run: what run.json says.
        results: the folder that the results lie in.
    """
    options = {"file": _from_here(run["file"])} | {name: run[name] for name in RECORDED if name in run}
    options |= {"seed": run["seeds"][0], "seeds": len(run["seeds"]), "results": results}
    words = [word for name, value in options.items() for word in (f"--{name}", "null" if value is None else str(value))]
    return shlex.join(["atv", "ablate", *words])


def _from_here(file: str) -> str:
    """Relative to the working folder where it lies in it, as in a checkout."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
