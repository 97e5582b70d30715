"""Logs an ablation with the loggers that were asked for: W&B, or files that need no service."""

import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from PIL import Image

from atv.ablation.base import Ablation
from atv.ablation.record import AblationRecord
from atv.ablation.results import Results
from atv.ablation.store import FinishedCell
from atv.runtime.wandb_settings import check_environment, wandb_mode
from atv.tracking import keys
from atv.tracking.base import Entry, Tracker
from atv.tracking.cells import CellEntries, summary_entry
from atv.tracking.wandb_runs import WandbTracker, write_view

LoggerName = Literal["wandb", "csv", "tensorboard", "none"]


class CSVTracker(Tracker):
    """``csv/<run>/``: metrics.csv (curves by step = block, then one row with all else) and hparams.yaml."""

    name = "csv"
    package = "lightning"

    def write(self, entry: Entry) -> None:
        logger = CSVLogger(self.folder, name="", version=_emptied(self.folder, entry))
        _log_numbers(logger, entry)
        logger.save()


class TensorBoardTracker(Tracker):
    """``tensorboard/<run>/``: the same as scalars, hyperparameters, and pictures."""

    name = "tensorboard"
    package = "tensorboard"

    def write(self, entry: Entry) -> None:
        version = _emptied(self.folder, entry)
        logger = TensorBoardLogger(self.folder, name="", version=version, default_hp_metric=False)
        _log_numbers(logger, entry)
        for name, file in entry.images.items():
            logger.experiment.add_image(name, np.asarray(Image.open(file).convert("RGB")), dataformats="HWC")
        logger.finalize("success")


def _log_numbers(logger: Logger, entry: Entry) -> None:
    logger.log_hyperparams(entry.config)
    for row in entry.curves:
        block = row[keys.BLOCK]
        logger.log_metrics({key: value for key, value in row.items() if key != keys.BLOCK}, step=int(block))
    if last := entry.points | entry.summary:
        logger.log_metrics(last, step=len(entry.curves))


def _emptied(folder: Path, entry: Entry) -> str:
    """The name of the run's folder, readable and unique by the id, without what an earlier version left there."""
    name = f"{re.sub(r'[^A-Za-z0-9.]+', '-', entry.name).strip('-')[:80]}-{entry.id[:8]}"
    shutil.rmtree(folder / name, ignore_errors=True)
    return name


_TRACKERS: dict[str, type[Tracker]] = {"wandb": WandbTracker, "csv": CSVTracker, "tensorboard": TensorBoardTracker}


def chosen_loggers(names: Sequence[LoggerName] | LoggerName) -> list[str]:
    """Without repetitions; without W&B where WANDB_MODE is disabled.

    Raises:
        ValueError: for "none" beside others, or a logger that is not installed.
    """
    asked = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if "none" in asked:
        if len(asked) > 1:
            raise ValueError(f"logger: 'none' stands alone, got {', '.join(asked)}")
        return []
    for name in asked:
        if find_spec(package := _TRACKERS[name].package) is None:
            raise ValueError(f"logger: {package} is not installed; pip install {package}")
    if "wandb" in asked:
        check_environment()
    return [name for name in asked if not (name == "wandb" and wandb_mode() == "disabled")]


def log_ablation(
    ablation: Ablation,
    results: Results,
    record: AblationRecord,
    folder: Path,
    origin: Mapping[str, Any],
    loggers: Sequence[str],
) -> dict[str, int]:
    """Logs one run a cell and one for the ablation, in each logger; what was logged before as it is now is skipped.

    Args:
        folder: the ablation's, with what ``write_results`` left there.
        origin: how the cells came about.

    Returns:
        Logger -> runs that were new.
    """
    new: dict[str, int] = {}
    entries = CellEntries(ablation.name, results, origin)
    summary = summary_entry(ablation, results, record, folder, origin)
    for name in loggers:
        tracker, new[name] = _TRACKERS[name](folder), 0
        for run_id, done in entries:
            if not tracker.has(run_id, entries.version(done)):
                tracker.log(entries.entry(run_id, done))
                new[name] += 1
        if not tracker.has(summary.id, summary.version):
            tracker.log(summary)
            new[name] += 1
    if WandbTracker.name in loggers:
        write_view(folder, [(summary.id, "summary"), *((run_id, _short(done)) for run_id, done in entries)])
    return new


def _short(done: FinishedCell) -> str:
    """A cell in as few letters as tell it apart, for lists show the first ones alone."""
    return ", ".join([*map(str, done.cell.labels.values()), f"seed {done.cell.seed}"])
