"""Logging the losses of a fine-tuning run to W&B."""

import os
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

from atv.runtime.wandb_settings import QUIET, check_environment, wandb_mode


class WandbLosses(WandbLogger):
    """A W&B run that starts with the first loss and ends with the training."""

    @property
    def experiment(self) -> Any:
        """The run.

        Raises:
            ValueError: if W&B cannot be reached or rejects the run.
        """
        try:
            return super().experiment
        except wandb.errors.Error as error:
            raise ValueError(f"logger: W&B: {error} (WANDB_MODE=offline writes the run to disk)") from error

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status != "success"))


def wandb_logger(folder: Path) -> WandbLosses:
    """Returns the W&B run of an output folder, in ``folder / "wandb"``: a new one, or that of a killed training.

    Raises:
        ValueError: if W&B cannot read one of its environment variables.
    """
    check_environment()
    return WandbLosses(
        project=os.environ.get("WANDB_PROJECT", "atv"),
        name=folder.name,
        save_dir=folder,
        id=_earlier_run(folder),
        mode=wandb_mode(),
        settings=wandb.Settings(**QUIET),
    )


def _earlier_run(folder: Path) -> str | None:
    """Returns the id of the latest run from the names of W&B's folders, so that Lightning resumes it; None without."""
    earlier_runs = sorted((folder / "wandb").glob("*run-*-*"), key=lambda run: run.stat().st_mtime)
    return earlier_runs[-1].name.rsplit("-", 1)[-1] if earlier_runs else None
