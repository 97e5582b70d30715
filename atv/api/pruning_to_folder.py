"""Pruning from a model's folder to another, whole: options, samples, blocks, the pruned model."""

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
    """A folder with a pruned model, what its report.json holds, and whether an earlier call had finished it."""

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

    The same call goes on from the last finished block where it was killed.

    Args:
        model, min_pixels, max_pixels, trust_remote_code: as for ``atv.load``.
        output: folder to write: new, empty, or with a run of the same call, finished or not.
        pathway: how tokens are selected, weights scored and sparsity shared out.
        calibration: as ``atv.calibration_batches`` takes them; None is what suits the model.
        samples, max_length, batch_size: of calibration, drawn by the seed.
        targets, propagate, trainer: as for ``atv.prune``.
        seed: of samples and whatever a rule draws.
        offload: "cpu" or "disk": where the decoder's blocks live while they are not pruned.

    Returns:
        The folder with its report. Only the first of several ranks writes there; the report of the others has no rows
        of targets unless the run was finished before.

    Raises:
        ValueError: for any argument that does not fit, or an output with something else; before calibration starts.
    """
    # What can be wrong without a model is told before one is loaded.
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
