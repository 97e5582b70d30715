"""An inspection from a model and its data to numbers, whole."""

from typing import Any

import lightning as L
from transformers import PreTrainedModel, ProcessorMixin

from atv.api import Pathway, calibration_batches
from atv.bundled import BUNDLED
from atv.criteria import Criterion
from atv.data import CalibrationData
from atv.data.sources import load_calibration
from atv.inspection.sample_run import inspect_sample, linear_of_blocks, modality_overlap
from atv.inspection.subject import Shown, Subject, drawn_row
from atv.inspection.written import Inspected
from atv.model.lvlm import LVLM
from atv.patterns import Pattern
from atv.plugins import resolve
from atv.runtime.trainer import quiet_trainer
from atv.selection import TokenSelection


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
    """What pruning looks at: visual tokens that each block selects, norms by modality, overlap of masks.

    The model stays as it is.

    Args:
        shown: None is the first calibration sample. A picture joins the calibration set as its last sample.
        calibration: "bundled", file, folder, hub id, class name or dotted path, or an instance.
        samples, batch_size: of calibration, drawn by the seed.
        selection, criterion, pattern, sparsity, propagate, seed, trainer: as for ``atv.prune``.
        linear: name or shell pattern of one Linear a block, whose input's norms are gathered.

    Raises:
        ValueError: for options, a picture or a sample that do not fit; before samples are read where it can be known.
    """
    shown = shown or Shown()
    given_row = shown.row(samples)
    data, trainer = load_calibration(calibration), trainer or quiet_trainer()
    rule = resolve(selection, TokenSelection, "selection")
    lvlm = LVLM.of(model)
    # Everything that can be wrong with the plan is found before samples are read.
    linears = linear_of_blocks(lvlm, linear)
    pathway = Pathway(rule, sparsity, criterion, pattern)
    pathway.plan(lvlm, pathway.targets(lvlm, lvlm.targets(None)))
    batches = calibration_batches(processor, data, samples, seed, batch_size, answers=rule.needs_answers)
    number = shown.sample or 0
    subject = Subject.of(lvlm, processor, given_row or drawn_row(data, seed, batches.record["ids"][number]))
    shared: dict[str, Any] = {"criterion": criterion, "pattern": pattern, "sparsity": sparsity}
    shared |= {"propagate": propagate, "seed": seed}
    joined, index = ([*batches, subject.inputs], samples) if given_row else (batches, number)
    seen = inspect_sample(model, joined, index, rule, linears, trainer, **shared)
    iou, kept = modality_overlap(model, batches, trainer, **shared)
    name = shown.image.name if shown.image else f"calibration sample {number}"
    described = type(rule).__name__ + (f", tokens of {linear}" if rule.per_linear else "")
    origin = {"model": model.name_or_path, "calibration": batches.record, "samples": samples}
    return Inspected(subject, seen, name, described, linear, iou, kept, origin)
