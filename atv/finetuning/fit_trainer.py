"""The trainer of a fine-tuning run."""

from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from atv.plugins import at_least
from atv.runtime.trainer import quiet, quiet_trainer

CHECKPOINTS, LOG = "checkpoints", "log"
# Warnings of Lightning about behaviour that is intended.
INTENDED = (
    # The sampler knows its position, and the folder of a killed run is not empty.
    ".*your dataloader is not resumable.*",
    ".*exists and is not empty.*",
    # The model stays in evaluation mode, validation may be off, and every rank evaluates all held-out batches.
    ".*no `val_dataloader`. Skipping val loop.*",
    ".*It is recommended to use `self.log.*sync_dist=True.*",
    ".*in eval mode at the start of training.*",
)
LogTo = Literal["csv", "wandb"]


class _CSVLosses(CSVLogger):
    """Logs to ``metrics.csv``; that of a killed run becomes ``metrics-1.csv``, because Lightning would remove it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        log_folder = Path(self.log_dir)
        if self._experiment is None and (earlier_file := log_folder / "metrics.csv").is_file():
            earlier_file.rename(log_folder / f"metrics-{len([*log_folder.glob('metrics-*.csv')]) + 1}.csv")
        return super().experiment


def training_trainer(folder: Path, every: int, log_to: LogTo | None, options: dict[str, Any]) -> L.Trainer:
    """Returns a trainer that keeps its last checkpoint in ``folder``, clips gradients to norm 1 and shows progress.

    Args:
        every: optimizer steps between checkpoints.
        options: options of lightning.Trainer; they override the defaults.

    Raises:
        ValueError: if lightning.Trainer does not have an option, or W&B cannot read a variable.
    """
    at_least(1, checkpoint_every=every)
    checkpointing = ModelCheckpoint(
        folder / CHECKPOINTS, save_last=True, save_top_k=0, every_n_train_steps=every, enable_version_counter=False
    )
    callbacks: list[Callback] = [checkpointing]
    if options.get("enable_progress_bar", True):
        callbacks.append(RichProgressBar())
    settings: dict[str, Any] = {
        "logger": _logger(folder, log_to),
        "callbacks": callbacks,
        "enable_checkpointing": True,
        "gradient_clip_val": 1.0,
        "max_epochs": 1,
        "num_sanity_val_steps": -1,
        "log_every_n_steps": 10,
        # The plan of batches covers all ranks.
        "use_distributed_sampler": False,
    }
    with quiet(*INTENDED):
        trainer = quiet_trainer(**(settings | options | _sharding(options)))
    if isinstance(trainer.strategy, DDPStrategy):
        # In a text-only batch, a projector or layers that read pictures get no gradient. Lightning may have chosen the
        # strategy itself, so the option is set afterwards.
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    return trainer


def _sharding(options: dict[str, Any]) -> dict[str, Any]:
    """Maps ``fsdp`` to FSDP2, which the module applies block by block; a checkpoint remains a single file."""
    if options.get("strategy") != "fsdp":
        return {}
    try:
        ranks = int(options.get("devices", 1)) * int(options.get("num_nodes", 1))
    except (TypeError, ValueError) as error:
        raise ValueError(f"trainer: fsdp needs the number of devices, got {options['devices']!r}") from error
    return {"strategy": ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)}


def last_checkpoint(folder: Path) -> Path:
    """Returns the path of the trainer's last checkpoint, which need not exist."""
    return folder / CHECKPOINTS / "last.ckpt"


def _logger(folder: Path, log_to: LogTo | None) -> Logger | bool:
    if log_to == "csv":
        # Flush at every step, so that everything logged before a checkpoint is on disk with it.
        return _CSVLosses(folder, name=LOG, version="", flush_logs_every_n_steps=1)
    if log_to == "wandb":
        # W&B takes a while to import, and most runs do not use it.
        from atv.finetuning.wandb_losses import wandb_logger

        return wandb_logger(folder)
    return False
