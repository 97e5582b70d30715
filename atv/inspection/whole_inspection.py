"""A complete inspection: what is inspected, and the files that it writes, figures and the numbers they show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from matplotlib.figure import Figure
from transformers import PreTrainedModel, ProcessorMixin

from atv.api import Pathway, calibration_batches
from atv.bundled import BUNDLED
from atv.criteria import Criterion
from atv.data import CalibrationData
from atv.data.sources import load_calibration
from atv.figures import norms_by_channel, overlap_heatmap, token_overlay
from atv.figures.saving import save_figure
from atv.inspection.sample_run import Inspection, inspect_sample, linear_of_blocks, modality_overlap
from atv.inspection.subject import Shown, Subject, drawn_row
from atv.model.lvlm import LVLM
from atv.patterns import Pattern
from atv.plugins import resolve
from atv.records.files import atomic, write_json
from atv.records.masks import random_overlap
from atv.records.provenance import provenance
from atv.runtime.trainer import quiet_trainer, require_all_batches
from atv.selection import TokenSelection

# Schema of tokens.json and inspect.json, which this package writes but does not read.
SCHEMA = 1


@dataclass(frozen=True)
class Inspected:
    """A sample as pruning sees it, and how far the masks of the two modalities agree.

    Attributes:
        name: name of the sample.
        linear: name or pattern of the Linear to which norms and tokens belong.
        iou: Linear -> intersection over union of the masks of visual-only and text-only calibration.
        kept: share of the weights that these masks keep.
        origin: model, data and number of samples.
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
        """The mean intersection over union over all Linears."""
        return sum(self.iou.values()) / len(self.iou)

    @property
    def random_iou(self) -> float:
        """The intersection over union to expect of two random masks."""
        return random_overlap(self.kept)

    def write(self, folder: Path) -> None:
        """Writes tokens.png and .json, norms.png and .csv, overlap.png and .csv, and inspect.json."""
        _write_tokens(folder, self.subject, self.seen, f"{self.name}: {self.selection}")
        counts_label = f"{self.seen.counts} tokens of {self.seen.samples} samples"
        _write_figure(folder, "norms", norms_by_channel(self.seen.norms, self.linear, counts_label), self.seen.norms)
        note = f"{1 - self.kept:.0%} sparsity, {self.origin['samples']} samples"
        table = pd.DataFrame({"linear": self.iou.keys(), "iou": self.iou.values()})
        _write_figure(folder, "overlap", overlap_heatmap(dict(self.iou), self.random_iou, note=note), table)
        settings = {"settings": self.seen.report.settings, "seed": self.seen.report.seed}
        origin = {"schema": SCHEMA, **self.origin, "picture": self.name}
        write_json(folder / "inspect.json", origin | settings | provenance())


def _write_tokens(target: Path, subject: Subject, inspection: Inspection, title: str) -> None:
    """Writes tokens.png and .json; tokens are numbered among the sample's visual tokens, positions in its sequence."""
    selected, means = (
        inspection.weights != 0,
        [inspection.report.blocks[block].mean_drift for block in inspection.blocks],
    )
    caption = f"{title}; {inspection.text} text tokens; mean drift of {inspection.samples} samples"
    figure = token_overlay(subject.picture, subject.grid, selected, inspection.drift, means, inspection.blocks, caption)
    save_figure(figure, target / "tokens.png", dpi=140)
    blocks = [
        {
            "block": block,
            "mean_drift": means[row],
            "selected": selected[row].nonzero().flatten().tolist(),
            "weights": inspection.weights[row].tolist(),
            "drift": inspection.drift[row].tolist(),
        }
        for row, block in enumerate(inspection.blocks)
    ]
    sample = {
        "conversation": subject.conversation,
        "text_tokens": inspection.text,
        "positions": inspection.positions.tolist(),
    }
    grid = subject.grid and asdict(subject.grid)
    write_json(target / "tokens.json", {"schema": SCHEMA, **sample, "grid": grid, "blocks": blocks})


def _write_figure(target: Path, name: str, figure: Figure, table: pd.DataFrame) -> None:
    save_figure(figure, target / f"{name}.png", dpi=140)
    with atomic(target / f"{name}.csv") as path:
        table.to_csv(path, index=False)


def inspect_model(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    shown: Shown | None = None,
    calibration: str | CalibrationData = BUNDLED,
    *,
    samples: int = 128,
    batch_size: int = 8,
    selection: TokenSelection | str = "DriftTopK",
    criterion: Criterion | str = "Wanda",
    pattern: Pattern | str = "unstructured",
    sparsity: float | None = None,
    linear: str = "q_proj",
    propagate: bool = True,
    seed: int = 0,
    trainer: L.Trainer | None = None,
) -> Inspected:
    """Inspects what pruning looks at: visual tokens that each block selects, norms by modality, overlap of masks.

    The model remains unchanged.

    Args:
        shown: what to inspect; None means the first calibration sample. A picture joins the calibration set as its last
            sample.
        calibration: "bundled", file, folder, hub id, class name or dotted path, or an instance.
        samples, batch_size: number of calibration samples, drawn with the seed, and their batch size.
        selection, criterion, pattern, sparsity, propagate, seed, trainer: as for ``atv.prune``.
        linear: name or shell pattern of one Linear per block, whose input norms are gathered.

    Raises:
        ValueError: if options, a picture or a sample do not fit; raised before samples are read if possible.
    """
    shown = shown or Shown()
    picture_row = shown.row(samples)
    data, trainer = load_calibration(calibration), trainer or quiet_trainer()
    require_all_batches(trainer)
    rule = resolve(selection, TokenSelection, "selection")
    lvlm = LVLM.of(model)
    # Faults in the plan are found before any sample is read.
    linears = linear_of_blocks(lvlm, linear)
    pathway = Pathway(rule, sparsity, criterion, pattern)
    pathway.plan(lvlm, pathway.targets(lvlm, lvlm.targets(None)))
    batches = calibration_batches(processor, data, samples, seed, batch_size, answers=rule.needs_answers)
    sample_index = shown.sample or 0
    subject = Subject.of(lvlm, processor, picture_row or drawn_row(data, seed, batches.record["ids"], sample_index))
    options: dict[str, Any] = {"criterion": criterion, "pattern": pattern, "sparsity": sparsity}
    options |= {"propagate": propagate, "seed": seed}
    inspected_batches, inspected_index = (
        ([*batches, subject.inputs], samples) if picture_row else (batches, sample_index)
    )
    inspection = inspect_sample(model, inspected_batches, inspected_index, rule, linears, trainer, **options)
    iou, kept_share = modality_overlap(model, batches, trainer, **options)
    name = shown.image.name if shown.image else f"calibration sample {sample_index}"
    rule_label = type(rule).__name__ + (f", tokens of {linear}" if rule.per_linear else "")
    origin = {"model": model.name_or_path, "calibration": batches.record, "samples": samples}
    return Inspected(subject, inspection, name, rule_label, linear, iou, kept_share, origin)
