"""One stage of the training: fitted, resumed where it was killed, or loaded where it was finished before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from atv.everyday.training.low_rank import load_updates, updates
from atv.records.files import atomic
from atv.runtime.preemption import Remaining

# In the folder of a finished stage: all that it trained.
LEARNED = "updates.safetensors"


class Stage(L.LightningModule):
    """Part of a model learns; checkpoints hold that part alone, and not the frozen weights beside it.

    Attributes:
        model: what is trained.
        steps: how many batches the stage takes.
    """

    strict_loading = False

    def __init__(self, model: Any, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in learned}


def fit(stage: Stage, train: Dataset, dev: Sequence[Dataset], folder: Path, checks: int = 8) -> None:
    """Fits a stage, with checkpoints and a log in ``folder``; what it learned is left there.

    Args:
        dev: data to validate on, ``checks`` times.
    """
    finished = folder / LEARNED
    if finished.is_file():
        load_updates(stage.model, load_file(finished))
        return
    trainer = L.Trainer(
        max_steps=stage.steps,
        logger=CSVLogger(folder.parent, name=folder.name, flush_logs_every_n_steps=10),
        log_every_n_steps=10,
        callbacks=[ModelCheckpoint(folder, save_last=True, every_n_train_steps=50, save_top_k=0)],
        enable_model_summary=False,
        gradient_clip_val=1.0,
        val_check_interval=max(1, stage.steps // checks),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if dev else 0,
    )
    remaining = Remaining(stage.steps, 0, 1, lambda: trainer.global_step)
    trainer.fit(
        stage,
        DataLoader(train, batch_size=None, sampler=remaining),
        [DataLoader(split, batch_size=None) for split in dev] or None,
        ckpt_path="last" if (folder / "last.ckpt").is_file() else None,
    )
    with atomic(finished) as path:
        save_file(updates(stage.model), path)
