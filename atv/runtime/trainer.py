"""Lightning's trainer as this library uses it: how one is made, and how one runs a loop of ours."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

# The batches are in memory already: more workers would only copy them. The other is torch's to Lightning.
_NO_NEWS = (".*does not have many workers.*", ".*LeafSpec.*")


def quiet_trainer(**options: Any) -> L.Trainer:
    """A trainer on one device with a progress bar, no logger, no checkpoints, no summary; ``options`` override.

    Gradients are off but tensors stay ordinary ones (no inference mode), so that pruned weights can be trained later.

    Raises:
        ValueError: for an option that lightning.Trainer does not have, or cannot serve here, or a job of SLURM whose
            tasks do not fit.
    """
    settings: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "inference_mode": False,
    }
    try:
        with quiet():
            return L.Trainer(**(settings | options))
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error


@contextmanager
def running(trainer: L.Trainer, *callbacks: L.Callback) -> Iterator[None]:
    """Lets a trainer run a loop of ours, quietly, with ``callbacks`` behind its own; then it is as before."""
    # Lightning sets the attribute and does not declare it.
    before = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [*before, *callbacks]  # type: ignore[attr-defined]
    try:
        with quiet():
            yield
    finally:
        trainer.callbacks = before  # type: ignore[attr-defined]


@contextmanager
def quiet(*messages: str) -> Iterator[None]:
    """Holds back, inside the block alone, warnings that are no news here: ours, and those that ``messages`` match.

    Which devices are not used, and Lightning's tips, are no news either.
    """
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (*_NO_NEWS, *messages):
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        log.setLevel(level)
