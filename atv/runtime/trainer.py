"""The trainer of a prediction loop that nobody else has configured."""

import logging
import warnings
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException


def quiet_trainer(**options: Any) -> L.Trainer:
    """A trainer on one device with a progress bar, no logger, no checkpoints, no summary; ``options`` override.

    Gradients are off but tensors stay ordinary ones (no inference mode), so that pruned weights can be trained later.

    Raises:
        ValueError: for an option that lightning.Trainer does not have, or cannot serve here.
    """
    # The batches are in memory already: more workers would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    # Which devices are not used, and tips, are no news.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    settings: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "inference_mode": False,
    }
    try:
        return L.Trainer(**(settings | options))
    except (TypeError, MisconfigurationException) as error:
        raise ValueError(f"trainer: {error}") from error
