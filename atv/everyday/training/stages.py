"""One stage of the training: it is fitted, resumed if it was killed, or loaded if it has already finished.

Linears learn low-rank updates on top of frozen weights (LoRA, arXiv 2106.09685, with a factor of 1). The file to
publish contains their factors in bfloat16, and the projector in float32.
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
    """A Linear with a low-rank update: y = W x + B (A x).

    W (out, in) is frozen, ``up`` is B (out, rank) and starts at zero, and ``down`` is A (rank, in).
    """

    def __init__(self, linear: nn.Linear, rank: int, seed: int) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        random = torch.randn(rank, linear.in_features, generator=torch.Generator().manual_seed(seed))
        self.down = nn.Parameter(random / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs) + F.linear(F.linear(inputs, self.down), self.up)


def add_updates(module: nn.Module, rank: int, seed: int) -> None:
    """Gives every Linear inside ``module`` a low-rank update and freezes everything else in it."""
    module.requires_grad_(False)
    linears = [(name, child) for name, child in module.named_modules() if isinstance(child, nn.Linear)]
    for linear_index, (name, linear) in enumerate(linears):
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, LowRankLinear(linear, rank, seed * 1000 + linear_index))


@torch.no_grad()
def fold(module: nn.Module) -> None:
    """Merges the updates, rounded as in the published file, and restores frozen Linears in their places."""
    for name, child in [(name, child) for name, child in module.named_modules() if isinstance(child, LowRankLinear)]:
        parent, _, attribute = name.rpartition(".")
        factors = Factors(child.down.bfloat16(), child.up.bfloat16())
        child.linear.weight.copy_(merged_weight(child.linear.weight, factors, 1.0))
        setattr(module.get_submodule(parent), attribute, child.linear)


def updates(module: nn.Module) -> dict[str, Tensor]:
    """Returns everything that was trained, by name: the factors of every update, and all other trainable parameters."""
    return {name: p.detach().contiguous() for name, p in module.named_parameters() if p.requires_grad}


def load_updates(module: nn.Module, learned: dict[str, Tensor]) -> None:
    """Loads what ``updates`` returned.

    Raises:
        ValueError: if the module lacks one of the names.
    """
    unknown = module.load_state_dict(learned, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"updates: the model has no {', '.join(unknown[:3])}")


def collected(learned: Mapping[str, Tensor]) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """Splits the ``updates`` of one or more stages into factors of Linears and parameters that are replaced."""
    linears = [name.removesuffix(".down") for name in learned if name.endswith(".down")]
    factors = {name: Factors(learned[f"{name}.down"].bfloat16(), learned[f"{name}.up"].bfloat16()) for name in linears}
    replaced = {name: value for name, value in learned.items() if not name.endswith((".down", ".up"))}
    return factors, replaced


def published_updates(file: Path, prefix: str = "") -> dict[str, Tensor]:
    """Returns a published file's ``updates`` whose names begin with ``prefix``, in float32; undoes ``collected``."""
    published = read_updates(file)
    factor_tensors = {
        f"{name}.{factor_name}": value
        for name, factors in published.factors.items()
        for factor_name, value in vars(factors).items()
    }
    return {
        name: value.float()
        for name, value in (factor_tensors | dict(published.replaced)).items()
        if name.startswith(prefix)
    }


def export(base: LlavaForConditionalGeneration, parameters: Mapping[str, Tensor], recipe: str, file: Path) -> None:
    """Writes the file to publish, with the digest of the model that it produces.

    Args:
        base: the untrained model, which is changed in place into the trained one.
        parameters: the parameters that all stages learned, by name.
        recipe: how they were trained, for human readers.
    """
    factors, replaced = collected(parameters)
    trained_updates = Updates(factors, replaced, 1.0, base_digests(base), None, {"command": recipe})
    merge(base, trained_updates)
    write_updates(replace(trained_updates, merged=model_digest(base)), file)


# File in the folder of a finished stage with everything that the stage trained.
LEARNED = "updates.safetensors"


class Stage(L.LightningModule):
    """Trains part of a model; checkpoints contain only that part, not the frozen weights.

    Attributes:
        model: the model, of which some parameters are trained.
        steps: number of batches in the stage.
    """

    strict_loading = False

    def __init__(self, model: Any, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained_names = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in trained_names}


def fit(stage: Stage, train: Dataset, dev: Sequence[Dataset], folder: Path, checks: int = 8) -> None:
    """Fits a stage, or loads what it learned if it has already finished.

    Checkpoints, a log and what the stage learned are saved in ``folder``.

    Args:
        dev: data sets to validate on, ``checks`` times.
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
