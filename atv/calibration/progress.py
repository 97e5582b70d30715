"""The trainer of a prediction loop that nobody else has configured."""

import warnings
from typing import Any

import lightning as L


def quiet_trainer(**options: Any) -> L.Trainer:
    """A trainer on one device with a progress bar, no logger, no checkpoints, no summary; ``options`` override.

    Gradients are off but tensors stay ordinary ones (no inference mode), so that pruned weights can be trained later.
    """
    # The batches are in memory already: more workers would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    settings: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "inference_mode": False,
    }
    return L.Trainer(**(settings | options))
