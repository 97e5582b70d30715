"""What one ablation left in its folder, read back for the report, and the command line that runs it again."""

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Self

from PIL import Image

from atv.ablation.findings import POINT, Finding
from atv.ablation.planning import can_be_planned, cheapest
from atv.ablation.record import AblationRecord
from atv.records.files import from_here
from atv.reporting.numbers import duration

FIGURE = "figure.png"
# Chance that what would decide a finding does.
POWER = 0.8


@dataclass(frozen=True)
class Section(AblationRecord):
    """An ablation's results.

    Attributes:
        folder: results/<name>/.
        size: of the figure, width and height in pixels.
    """

    folder: Path
    size: tuple[int, int]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """An ablation's results, read from what ``atv.ablation.writing.write_results`` wrote.

        Raises:
            ValueError: for a folder that is not an ablation's, or not whole, saying what is wrong.
        """
        record = AblationRecord.read(folder)
        if not (folder / FIGURE).is_file():
            raise ValueError(f"no {FIGURE}")
        return cls(**vars(record), folder=folder, size=_size(folder / FIGURE))

    @property
    def name(self) -> str:
        return self.run["name"]

    @cached_property
    def figure(self) -> str:
        """The picture itself as an address."""
        return "data:image/png;base64," + base64.b64encode((self.folder / FIGURE).read_bytes()).decode()

    def would_decide(self, finding: Finding) -> str:
        """What an undecided finding of these needs, if it lies its margin (else a point) from its bound; else empty."""
        if finding.verdict != "undecided" or not can_be_planned(finding):
            return ""
        effect = finding.margin or POINT
        plan = cheapest(finding, self, effect, POWER)
        if plan is None:
            assert finding.ours.spread is not None
            if not isfinite(finding.ours.spread.questions):
                return "One cluster of questions tells of no spread: it takes questions about more pictures."
            return f"Seeds differ too much to tell a difference of {effect:g} by any number of questions."
        seeds = f"{plan.seeds} seed{'s' if plan.seeds > 1 else ''}"
        return (
            f"A difference of {effect:g} would be told, with a chance of {POWER:.0%}, by {plan.groups:,} groups of "
            f"each task and {seeds}: {duration(plan.seconds)} of cells."
        )

    @property
    def command(self) -> str:
        """The command line that runs the ablation again."""
        return run_again(self.run, self.folder.parent)


def _size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.size
    except OSError as error:
        raise ValueError(f"{file.name} is no picture") from error


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
