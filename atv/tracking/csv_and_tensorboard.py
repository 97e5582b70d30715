"""Trackers that need no service: CSV files and TensorBoard."""

import re
import shutil
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from PIL import Image

from atv.tracking import keys
from atv.tracking.base import Entry, Tracker


class CSVTracker(Tracker):
    """Writes ``csv/<run>/``: metrics.csv (curves with step = block, then one row with the rest) and hparams.yaml."""

    name = "csv"
    package = "lightning"

    def write(self, entry: Entry) -> None:
        logger = CSVLogger(self.folder, name="", version=_cleared_folder_name(self.folder, entry))
        _log_numbers(logger, entry)
        logger.save()


class TensorBoardTracker(Tracker):
    """Writes ``tensorboard/<run>/``: the same numbers as scalars, with hyperparameters and pictures."""

    name = "tensorboard"
    package = "tensorboard"

    def write(self, entry: Entry) -> None:
        version = _cleared_folder_name(self.folder, entry)
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
    if final_numbers := entry.points | entry.summary:
        logger.log_metrics(final_numbers, step=len(entry.curves))


def _cleared_folder_name(folder: Path, entry: Entry) -> str:
    """Removes the folder of an earlier version of a run, and returns its name, which is readable and has the id."""
    name = f"{re.sub(r'[^A-Za-z0-9.]+', '-', entry.name).strip('-')[:80]}-{entry.id[:8]}"
    shutil.rmtree(folder / name, ignore_errors=True)
    return name
