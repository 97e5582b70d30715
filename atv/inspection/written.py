"""What is left of an inspection: pictures, and the numbers that they show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from atv.figures import norms_by_channel, overlap_heatmap, token_overlay
from atv.inspection.sample_run import Inspection
from atv.inspection.subject import Subject
from atv.records.files import atomic, write_json
from atv.records.masks import random_overlap
from atv.records.provenance import provenance

# Of tokens.json and inspect.json, which nothing here reads.
SCHEMA = 1


@dataclass(frozen=True)
class Inspected:
    """A sample as pruning sees it, and how far masks of the two modalities agree.

    Attributes:
        name: what the sample is called.
        linear: the name or pattern of the Linear that norms and tokens are of.
        iou: Linear -> intersection over union of the masks of visual-only and text-only calibration.
        kept: share of the weights that they keep.
        origin: model, data and numbers of samples.
    """

    subject: Subject
    seen: Inspection
    name: str
    selection: str
    linear: str
    iou: Mapping[str, float]
    kept: float
    origin: Mapping[str, Any]

    @property
    def mean_iou(self) -> float:
        """The mean intersection over union, of all Linears."""
        return sum(self.iou.values()) / len(self.iou)

    @property
    def random_iou(self) -> float:
        """What two random masks would have."""
        return random_overlap(self.kept)

    def write(self, folder: Path) -> None:
        """tokens.png and .json, norms.png and .csv, overlap.png and .csv, and inspect.json."""
        _write_tokens(folder, self.subject, self.seen, f"{self.name}: {self.selection}")
        counted = f"{self.seen.counts} tokens of {self.seen.samples} samples"
        _write(folder, "norms", norms_by_channel(self.seen.norms, self.linear, counted), self.seen.norms)
        note = f"{1 - self.kept:.0%} sparsity, {self.origin['samples']} samples"
        table = pd.DataFrame({"linear": self.iou.keys(), "iou": self.iou.values()})
        _write(folder, "overlap", overlap_heatmap(dict(self.iou), self.random_iou, note=note), table)
        settings = {"settings": self.seen.report.settings, "seed": self.seen.report.seed}
        origin = {"schema": SCHEMA, **self.origin, "picture": self.name}
        write_json(folder / "inspect.json", origin | settings | provenance())


def _write_tokens(target: Path, subject: Subject, seen: Inspection, title: str) -> None:
    """tokens.png and tokens.json; tokens are counted among the sample's visual ones, positions in its sequence."""
    selected, means = seen.weights != 0, [seen.report.blocks[block].mean_drift for block in seen.blocks]
    what = f"{title}; {seen.text} text tokens; mean drift of {seen.samples} samples"
    figure = token_overlay(subject.picture, subject.grid, selected, seen.drift, means, seen.blocks, what)
    _save(target / "tokens.png", figure)
    blocks = [
        {
            "block": block,
            "mean_drift": means[row],
            "selected": selected[row].nonzero().flatten().tolist(),
            "weights": seen.weights[row].tolist(),
            "drift": seen.drift[row].tolist(),
        }
        for row, block in enumerate(seen.blocks)
    ]
    sample = {"conversation": subject.conversation, "text_tokens": seen.text, "positions": seen.positions.tolist()}
    grid = subject.grid and asdict(subject.grid)
    write_json(target / "tokens.json", {"schema": SCHEMA, **sample, "grid": grid, "blocks": blocks})


def _write(target: Path, name: str, figure: Figure, table: pd.DataFrame) -> None:
    _save(target / f"{name}.png", figure)
    with atomic(target / f"{name}.csv") as path:
        table.to_csv(path, index=False)


def _save(file: Path, figure: Figure) -> None:
    with atomic(file) as path:
        figure.savefig(path, dpi=140, format="png")
