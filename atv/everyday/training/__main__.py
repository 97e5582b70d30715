"""``make train-everyday``: trains what the everyday model adds to its pretrained halves, stage by stage.

python -m atv.everyday.training --base FOLDER --work checkpoints/everyday
"""

from pathlib import Path

import lightning as L
import torch
from jsonargparse import auto_cli
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from atv.everyday.training.low_rank import add_updates, load_updates, updates
from atv.everyday.training.vision import PatchBatches, VisionStage


def train(
    base: Path,
    work: Path = Path("checkpoints/everyday"),
    seed: int = 0,
    rank: int = 32,
    vision_steps: int = 1200,
    threads: int = 2,
) -> None:
    """Train what the everyday model adds to its pretrained halves; a killed run goes on from its last checkpoint.

    Args:
        base: Folder of the two halves put together, untrained.
        work: Folder for checkpoints and the training log.
        seed: Of scenes, dialogues and first weights.
        rank: Of the low-rank updates of the vision tower.
        vision_steps: Batches of 8 pictures for tower and projector.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    L.seed_everything(seed)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoProcessor.from_pretrained(base).tokenizer
    model.requires_grad_(False)
    add_updates(model.model.vision_tower, rank, seed)
    model.model.multi_modal_projector.requires_grad_(True)
    dev = [PatchBatches(split, seed, 4, 16) for split in ("dev", "unseen")]
    stage = VisionStage(model, tokenizer, vision_steps)
    train_set = PatchBatches("train", seed, vision_steps, 8)
    stage.match_scales(torch.cat([train_set[index][0] for index in range(4)]))
    fit(stage, train_set, dev, work / "vision")


def fit(stage: L.LightningModule, train: Dataset, dev: list[Dataset], work: Path) -> None:
    """Fits a stage, or loads what it learned where it was finished before."""
    finished = work / "updates.safetensors"
    if finished.is_file():
        load_updates(stage.model, load_file(finished))
        return
    steps = len(train)  # type: ignore[arg-type]
    trainer = L.Trainer(
        accelerator="auto",
        max_steps=steps,
        logger=CSVLogger(work.parent, name=work.name, version="", flush_logs_every_n_steps=10),
        log_every_n_steps=10,
        callbacks=[ModelCheckpoint(work, save_last=True, every_n_train_steps=100, save_top_k=0)],
        enable_model_summary=False,
        gradient_clip_val=1.0,
        val_check_interval=max(1, steps // 8),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        stage,
        DataLoader(train, batch_size=None),
        [DataLoader(split, batch_size=None) for split in dev],
        ckpt_path="last" if (work / "last.ckpt").is_file() else None,
    )
    save_file(updates(stage.model), finished)


if __name__ == "__main__":
    auto_cli(train, as_positional=False)
