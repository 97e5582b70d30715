"""One stage of the training: fitted, resumed where it was killed, or loaded where it was finished before.

Linears learn low-rank updates on top of frozen weights (LoRA, arXiv 2106.09685, with a factor of 1); the file to ship
has their factors in bfloat16, and the projector in float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import LlavaForConditionalGeneration

from atv.everyday.assembly.trained_updates import (
    Factors,
    Updates,
    base_digests,
    merge,
    merged_weight,
    read_updates,
    write_updates,
)
from atv.records.digests import model_digest
from atv.records.files import atomic
from atv.runtime.preemption import Remaining


class LowRankLinear(nn.Module):
    """y = W x + B (A x): W (out, in) is frozen, ``up`` B (out, rank) begins at zero, ``down`` is A (rank, in)."""

    def __init__(self, linear: nn.Linear, rank: int, seed: int) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        random = torch.randn(rank, linear.in_features, generator=torch.Generator().manual_seed(seed))
        self.down = nn.Parameter(random / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs) + F.linear(F.linear(inputs, self.down), self.up)


def add_updates(module: nn.Module, rank: int, seed: int) -> None:
    """Replaces every Linear inside ``module`` and freezes everything else in it."""
    module.requires_grad_(False)
    linears = [(name, child) for name, child in module.named_modules() if isinstance(child, nn.Linear)]
    for number, (name, linear) in enumerate(linears):
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, LowRankLinear(linear, rank, seed * 1000 + number))


@torch.no_grad()
def fold(module: nn.Module) -> None:
    """Puts the updates into the weights, rounded as they are shipped, and frozen Linears where they were learned."""
    for name, child in [(name, child) for name, child in module.named_modules() if isinstance(child, LowRankLinear)]:
        parent, _, own = name.rpartition(".")
        factors = Factors(child.down.bfloat16(), child.up.bfloat16())
        child.linear.weight.copy_(merged_weight(child.linear.weight, factors, 1.0))
        setattr(module.get_submodule(parent), own, child.linear)


def updates(module: nn.Module) -> dict[str, Tensor]:
    """What was trained, by name: the factors of every update, and all parameters outside Linears that learn."""
    return {name: p.detach().contiguous() for name, p in module.named_parameters() if p.requires_grad}


def load_updates(module: nn.Module, learned: dict[str, Tensor]) -> None:
    """Puts ``updates`` back.

    Raises:
        ValueError: for names that the module does not have.
    """
    unknown = module.load_state_dict(learned, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"updates: the model has no {', '.join(unknown[:3])}")


def collected(learned: Mapping[str, Tensor]) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """Factors of Linears, and parameters that are replaced, out of ``updates`` of one or several stages."""
    linears = [name.removesuffix(".down") for name in learned if name.endswith(".down")]
    factors = {name: Factors(learned[f"{name}.down"].bfloat16(), learned[f"{name}.up"].bfloat16()) for name in linears}
    whole = {name: value for name, value in learned.items() if not name.endswith((".down", ".up"))}
    return factors, whole


def learned(file: Path, part: str = "") -> dict[str, Tensor]:
    """Out of a file that ships, in float32: what ``collected`` took apart, of names that begin with ``part``."""
    made = read_updates(file)
    parts = {f"{name}.{which}": value for name, own in made.factors.items() for which, value in vars(own).items()}
    return {name: value.float() for name, value in (parts | dict(made.whole)).items() if name.startswith(part)}


def export(base: LlavaForConditionalGeneration, parameters: Mapping[str, Tensor], recipe: str, file: Path) -> None:
    """Writes the file that ships, and in it the digest of the model that it gives.

    Args:
        base: the untrained model; changed in place into the trained one.
        parameters: what all stages learned, by name.
        recipe: how, for people.
    """
    factors, whole = collected(parameters)
    made = Updates(factors, whole, 1.0, base_digests(base), None, {"command": recipe})
    merge(base, made)
    write_updates(replace(made, merged=model_digest(base)), file)


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
