"""``atv inspect``"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from jsonargparse import lazy_instance
from matplotlib.figure import Figure
from rich.console import Console

from atv.bundled import BUNDLED
from atv.calibration.pathway_choice import Pathway
from atv.criteria import Criterion, Wanda
from atv.data import CalibrationData
from atv.data.calibration_batches import calibration_batches
from atv.data.sources import load_calibration
from atv.figures import norms_by_channel, overlap_heatmap, token_overlay
from atv.inspection import Inspection, Subject, drawn_row, inspect_sample, linear_of_blocks, modality_overlap, own_row
from atv.model.loading import load_model, model_folder
from atv.model.lvlm import LVLM
from atv.patterns import Pattern
from atv.records.files import atomic, writable, write_json
from atv.records.masks import random_overlap
from atv.records.provenance import git_revision, hardware, versions
from atv.runtime.trainer import quiet_trainer
from atv.selection import DriftTopK, TokenSelection


def inspect(
    output: Path,
    image: Path | None = None,
    question: str | None = None,
    answer: str | None = None,
    sample: int | None = None,
    model: str = BUNDLED,
    calibration: str | CalibrationData = BUNDLED,
    samples: int = 128,
    batch_size: int = 8,
    selection: TokenSelection = lazy_instance(DriftTopK),
    criterion: Criterion = lazy_instance(Wanda),
    pattern: str | Pattern = "unstructured",
    sparsity: float | None = None,
    linear: str = "q_proj",
    propagate: bool = True,
    seed: int = 0,
    plugin: list[Path] | Path | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Draw what pruning looks at: the visual tokens that each block selects of one picture, norms, overlap of masks.

    Writes tokens.png and tokens.json (the picture's visual tokens by block), norms.png and norms.csv (text against
    visual activations by block and channel), overlap.png and overlap.csv (IoU of the masks of visual-only and
    text-only calibration by block and Linear), and inspect.json (how they were made). The model stays as it is.

    Args:
        output: Folder to write.
        image: Picture to inspect. It joins the calibration set as its last sample, so that a budget that depends on
            the whole set is the one that pruning would give it.
        question: What is asked about the picture; needed with --image.
        answer: What is answered, as calibration conversations have it.
        sample: In place of a picture of yours: the number of a calibration sample, from 0 on. Default 0.
        model: Folder of an LVLM (config.json, safetensors, processor), hub id, "bundled" or "everyday".
        calibration: "bundled", file, folder, hub id, or a class name or dotted path, its arguments as for prune.
        samples: Calibration samples, drawn by the seed.
        batch_size: Calibration samples a forward pass.
        selection: Which tokens enter the calibration pool: a class name or dotted path.
        criterion: How a weight is scored: a class name or dotted path.
        pattern: "unstructured", N:M such as 2:4, or a class name or dotted path.
        sparsity: Share of each row to prune, in [0, 1). Default 0.5, or what N:M implies.
        linear: Name or shell pattern of one Linear a block: its input's norms are drawn, and its tokens where a rule
            picks them for every Linear by itself.
        propagate: Whether each block sees what its pruned predecessors give.
        seed: Of the samples drawn and of rules that draw.
        plugin: Python file, or list of files, with rules, criteria or patterns of your own, imported first.
        trainer: Options of lightning.Trainer, as --trainer.accelerator gpu.
        trust_remote_code: Whether code that comes with the model may run.
    """
    folder = model_folder(model, trust_remote_code)
    own = own_row(image, question, answer, sample, samples)
    target = writable(output, "output")
    runner = quiet_trainer(**(trainer or {}))
    data = load_calibration(calibration)
    dense, processor = load_model(folder, trust_remote_code)
    lvlm = LVLM.of(dense)
    # Everything that can be wrong with the plan is found before samples are read.
    linears = linear_of_blocks(lvlm, linear)
    Pathway(selection, sparsity, criterion, pattern).plan(lvlm, lvlm.targets(None))
    batches = calibration_batches(processor, data, samples, seed, batch_size)
    subject = Subject.of(lvlm, processor, own or drawn_row(data, seed, batches.record["ids"][sample or 0]))
    shared = {"criterion": criterion, "pattern": pattern, "sparsity": sparsity, "propagate": propagate, "seed": seed}
    joined, index = ([*batches, subject.inputs], samples) if own else (batches, sample or 0)
    seen = inspect_sample(dense, joined, index, selection, linears, runner, **shared)
    iou, kept = modality_overlap(dense, batches, runner, **shared)
    if not runner.is_global_zero:
        return
    name = image.name if image else f"calibration sample {index}"
    title = f"{name}: {type(selection).__name__}"
    if selection.per_linear:
        title += f", tokens of {linear}"
    _write_tokens(target, subject, seen, title)
    figure = norms_by_channel(seen.norms, linear, f"{seen.counts} tokens of {seen.samples} samples")
    _write(target, "norms", figure, seen.norms)
    figure = overlap_heatmap(iou, random_overlap(kept), note=f"{1 - kept:.0%} sparsity, {samples} samples")
    _write(target, "overlap", figure, pd.DataFrame({"linear": iou.keys(), "iou": iou.values()}))
    origin = {"model": model, "calibration": batches.record, "samples": samples, "picture": name}
    made = {"seed": seed, "versions": versions(), "git": git_revision(), "hardware": hardware()}
    write_json(target / "inspect.json", {"schema": 1, **origin, "settings": seen.report.settings, **made})
    Console().print(
        f"mean IoU of visual-only and text-only masks {sum(iou.values()) / len(iou):.3f} "
        f"(random {random_overlap(kept):.3f}); tokens, norms and overlap are in {target}, drawn and as numbers",
        soft_wrap=True,
    )


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
    write_json(target / "tokens.json", {"schema": 1, **sample, "grid": grid, "blocks": blocks})


def _write(target: Path, name: str, figure: Figure, table: pd.DataFrame) -> None:
    _save(target / f"{name}.png", figure)
    with atomic(target / f"{name}.csv") as path:
        table.to_csv(path, index=False)


def _save(file: Path, figure: Figure) -> None:
    with atomic(file) as path:
        figure.savefig(path, dpi=140, format="png")
