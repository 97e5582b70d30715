"""What one ablation left in its folder, read back for the report."""

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
        return data_url((self.folder / FIGURE).read_bytes(), "png")

    def would_decide(self, finding: Finding) -> str:
        """What an undecided finding of these needs, if it lies its margin (else a point) from its bound; else empty."""
        if finding.verdict != "undecided" or not can_be_planned(finding):
            return ""
        effect = finding.margin or POINT
        plan = cheapest(finding, self, effect, POWER)
        if plan is None:
            assert finding.ours.spread is not None
            if not isfinite(finding.ours.spread.question_variance):
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
