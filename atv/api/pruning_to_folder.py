"""Prunes a model from one folder to another: options, samples, blocks and the pruned model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L

from atv.api.model_files import load, save
from atv.api.pruning import prune
from atv.calibration.pathway import Pathway
from atv.data.base import CalibrationData
from atv.data.calibration_batches import calibration_batches, check_draw
from atv.data.sources import load_calibration
from atv.model.offload import Offload
from atv.records.pruning_report import PruningReport
from atv.records.run_folder import OFFLOADED, run_folder
from atv.runtime.trainer import quiet_trainer, require_calibrating


@dataclass(frozen=True)
class PrunedFolder:
    """A pruned model's folder, the content of its report.json, and whether an earlier call had already finished it."""

    folder: Path
    report: PruningReport
    finished_before: bool


def prune_to_folder(
    model: str | Path,
    output: str | Path,
    pathway: Pathway,
    calibration: str | CalibrationData | None = None,
    *,
    samples: int = 128,
    max_length: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    batch_size: int = 8,
    targets: Sequence[str] | str | None = None,
    propagate: bool = True,
    seed: int = 0,
    offload: Offload | None = None,
    trainer: L.Trainer | None = None,
    trust_remote_code: bool = False,
) -> PrunedFolder:
    """Loads an LVLM, prunes it block by block and writes a folder that from_pretrained loads, as ``atv prune`` does.

    The same call resumes a killed run after the last finished block.

    Args:
        model, min_pixels, max_pixels, trust_remote_code: as for ``atv.load``.
        output: folder to write to: new, empty, or with a run of the same call, finished or not.
        pathway: rules that select tokens, score weights and distribute the sparsity.
        calibration: calibration data, as for ``atv.calibration_batches``. None is the data that suit the model.
        samples, max_length, batch_size: number, maximum length and batch size of the calibration samples, which are
            drawn by the seed.
        targets, propagate, trainer: as for ``atv.prune``.
        seed: seed of the samples and of everything that rules draw at random.
        offload: "cpu" or "disk": where to keep the decoder's blocks that are not being pruned. None does not offload.

    Returns:
        The folder with its report. Only the first of several ranks writes the folder; the report of the others has no
        rows of targets unless the run was already finished.

    Raises:
        ValueError: if an argument is invalid or the output holds something else; before calibration starts.
    """
    # What can be checked without a model is checked before one is loaded.
    needs_answers = pathway.parts().selection.needs_answers
    data = load_calibration(calibration, str(model))
    check_draw(data, samples, seed, batch_size, max_length)
    target, runner = run_folder(output, "output"), trainer or quiet_trainer()
    require_calibrating(runner)
    dense, processor = load(
        model,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        offload=offload,
        device=runner.strategy.root_device,
        scratch=target / OFFLOADED,
        trust_remote_code=trust_remote_code,
    )
    finished_before = (target / "config.json").is_file()
    report = prune(
        dense,
        calibration_batches(processor, data, samples, seed, batch_size, max_length, needs_answers),
        **vars(pathway),
        targets=targets,
        propagate=propagate,
        seed=seed,
        trainer=runner,
        run_dir=target,
    )
    if runner.is_global_zero and not finished_before:
        report = save(target, dense, processor, report)
    return PrunedFolder(target, report, finished_before)
