"""Reads one ablation's results from its folder for the report."""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Self

from PIL import Image

from atv.ablation.findings import POINT, Finding
from atv.ablation.planning import can_be_planned, cheapest
from atv.ablation.record import AblationRecord
from atv.records.page_parts import data_url
from atv.reporting.numbers import duration
from atv.reporting.run_again import run_again

FIGURE = "figure.png"
# Probability with which the planned groups and seeds decide a finding.
POWER = 0.8


@dataclass(frozen=True)
class Section(AblationRecord):
    """An ablation's results.

    Attributes:
        folder: the folder results/<name>/.
        size: width and height of the figure in pixels.
    """

    folder: Path
    size: tuple[int, int]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads what ``atv.ablation.writing.write_results`` wrote.

        Raises:
            ValueError: for a folder that is not an ablation's or is incomplete, saying what is wrong.
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
        """The figure as a data URL."""
        return data_url((self.folder / FIGURE).read_bytes(), "png")

    def would_decide(self, finding: Finding) -> str:
        """Returns what would decide an undecided finding of this ablation; "" for any other finding.

        Assumes that the true number lies a margin (a point, if the finding has none) away from the bound.
        """
        if finding.verdict != "undecided" or not can_be_planned(finding):
            return ""
        effect = finding.margin or POINT
        plan = cheapest(finding, self, effect, POWER)
        if plan is None:
            assert finding.ours.spread is not None
            if not isfinite(finding.ours.spread.question_variance):
                return "A single cluster of questions shows no spread; questions about more pictures are needed."
            return f"Seeds differ too much for any number of questions to detect a difference of {effect:g}."
        seeds = f"{plan.seeds} seed{'s' if plan.seeds > 1 else ''}"
        return (
            f"Detecting a difference of {effect:g} with a probability of {POWER:.0%} takes {plan.groups:,} groups "
            f"per task and {seeds}; their cells take {duration(plan.seconds)}."
        )

    @property
    def command(self) -> str:
        """The command line that reruns the ablation."""
        return run_again(self.run, self.folder.parent)


def _size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.size
    except OSError as error:
        raise ValueError(f"{file.name} is not a picture") from error
