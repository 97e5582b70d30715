"""A fine-tuning run: from a pruned model to trained parameters and back into a model, with its LightningModule."""

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import AdamW
from torch.utils.data import Dataset
from torchmetrics import MeanMetric
from transformers import get_cosine_schedule_with_warmup

from atv.finetuning.batches import loader
from atv.finetuning.fit_trainer import INTENDED
from atv.finetuning.objectives import Objective, shard
from atv.finetuning.settings import Settings
from atv.finetuning.sites import Site, pruned_sites, still_zero
from atv.finetuning.updates import merge, train_kept, train_low_rank
from atv.model.lvlm import LVLM
from atv.runtime.preemption import Remaining, Sigterm
from atv.runtime.trainer import interruptible, quiet, require_own_weights


class Diverged(ValueError):
    """Raised if training gives a loss or weights that are not finite; resuming would give the same."""

    def __init__(self, what: str, learning_rate: float, step: int) -> None:
        super().__init__(
            f"learning_rate: {learning_rate} is too high, expected finite {what}, got non-finite ones at step {step}; "
            "nothing of the run was kept"
        )


class SparseFinetuning(L.LightningModule):
    """Trains the parameters that require gradients with AdamW, a linear warm-up and a cosine decay.

    The model stays in evaluation mode: there is no dropout, and statistics of frozen layers do not change. Checkpoints
    hold only the trained parameters.

    Args:
        objective: the loss to minimize.
        steps: optimizer steps of the whole run.
    """

    def __init__(self, lvlm: LVLM, objective: Objective, settings: Settings, steps: int) -> None:
        super().__init__()
        self.model, self.objective, self.settings, self.steps = lvlm.model, objective, settings, steps
        self._lvlm = lvlm
        self.strict_loading = False
        self.trained = {f"model.{name}" for name, parameter in lvlm.model.named_parameters() if parameter.requires_grad}
        self.validation: list[dict[str, float]] = []
        # Every rank sees all held-out batches, so nothing is exchanged. A loss that is not finite must not be dropped.
        self.held_out_loss = MeanMetric(nan_strategy="disable", sync_on_compute=False).set_dtype(torch.float64)
        self._sigterm = Sigterm()

    def configure_model(self) -> None:
        """Shards the parameters block by block (FSDP2) if the strategy has a mesh."""
        if self._mesh is not None:
            shard(self._lvlm, self._mesh)

    @property
    def _mesh(self) -> DeviceMesh | None:
        return None if self.device_mesh is None else self.device_mesh["data_parallel"]

    def on_fit_start(self) -> None:
        self.objective.place(self.device, self._mesh)

    def on_train_start(self) -> None:
        self._sigterm.listen()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Returns the objective over the batch's tokens that count.

        Raises:
            Diverged: on every rank, if it is not finite on any rank.
            SIGTERMException: on every rank, if any rank received the signal.
        """
        if self.trainer.strategy.reduce_boolean_decision(self._sigterm.received, all=False):
            raise SIGTERMException
        loss, _ = self.objective.loss(self.model, batch)
        if self.trainer.strategy.reduce_boolean_decision(not loss.isfinite(), all=False):
            raise Diverged("losses", self.settings.learning_rate, self.global_step + 1)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Updates the held-out objective, with each batch weighted by its number of tokens that count."""
        self.held_out_loss.update(*self.objective.loss(self.model, batch))

    def on_validation_epoch_end(self) -> None:
        """Logs the held-out loss; after the first step, raises Diverged if it is not finite."""
        loss = self.held_out_loss.compute().item()
        self.held_out_loss.reset()
        if self.global_step and not math.isfinite(loss):
            raise Diverged("losses", self.settings.learning_rate, self.global_step)
        self.log("validation_loss", loss, prog_bar=True, rank_zero_only=True)
        if not any(measurement["step"] == self.global_step for measurement in self.validation):
            self.validation.append({"step": self.global_step, "loss": loss})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self.settings
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = AdamW(trained, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay)
        schedule = get_cosine_schedule_with_warmup(optimizer, round(settings.warmup * self.steps), self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self.trained_state(checkpoint["state_dict"])
        checkpoint["validation"] = self.validation

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validation = checkpoint["validation"]

    def trained_state(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Returns the trained parameters of a state dict."""
        return {name: value for name, value in state_dict.items() if name in self.trained}


@dataclass(frozen=True)
class Finetuned:
    """The result of training: parameters by name (whole on rank 0), optimizer steps, and validation losses by step."""

    weights: dict[str, Tensor]
    steps: int
    validation: list[dict[str, float]]


def prepare(lvlm: LVLM, masks: Mapping[str, Tensor], settings: Settings) -> list[Site]:
    """Makes exactly the parameters to train trainable; if a pruned weight has an adapter, only the adapter.

    Raises:
        ValueError: if masks and model do not belong together, or a setting does not fit the model.
    """
    sites = pruned_sites(lvlm, masks)
    still_zero(sites)
    lvlm.model.requires_grad_(False)
    adapted = set() if settings.lora_rank is None else {site.name for site in sites}
    for parameter in _further_parameters(lvlm.model, settings.train_also, adapted):
        parameter.requires_grad_(True)
    if settings.lora_rank is None:
        train_kept(sites)
    else:
        train_low_rank(sites, settings.lora_rank, settings.lora_alpha)
    return sites


def _further_parameters(model: nn.Module, patterns: Iterable[str], adapted: Set[str]) -> list[nn.Parameter]:
    """Returns the parameters whose names match a shell-style pattern, except for the ``adapted``."""
    parameters = {name: parameter for name, parameter in model.named_parameters() if name not in adapted}
    restriction = " besides the pruned weights, which lora_rank trains" if adapted else ""
    chosen = []
    for pattern in patterns:
        matching = [parameter for name, parameter in parameters.items() if fnmatch(name, pattern)]
        if not matching:
            example = f"for example, one is called {next(iter(parameters))!r}"
            raise ValueError(f"train_also: {pattern!r} matches no parameter{restriction}; {example}")
        chosen += matching
    return chosen


def fit(
    lvlm: LVLM,
    objective: Objective,
    settings: Settings,
    batches: Dataset,
    held_out: Dataset | None,
    trainer: L.Trainer,
    checkpoint: Path,
    workers: int = 0,
) -> Finetuned:
    """Trains a prepared model on every batch once, in order; resumes from ``checkpoint`` if it exists.

    Args:
        batches: batches of all epochs and ranks, with what the objective needs; their number is a multiple of ranks
            times accumulated batches times epochs.
        held_out: batches whose loss is measured before training and after every epoch, and thus at the end.

    Raises:
        ValueError: if the checkpoint is incomplete, or Lightning would load one of a different run.
        Diverged: at the first loss that is not finite, or if final weights are not finite.
    """
    if checkpoint.is_file() and not is_zipfile(checkpoint):
        raise ValueError(f"output: {str(checkpoint)!r} is not a complete checkpoint; remove it to restart the training")
    if not checkpoint.is_file():
        require_own_weights(trainer)
    # torch declares no length for data sets; these have one.
    batch_count = len(batches)  # type: ignore[arg-type]
    on_this_rank, accumulated = batch_count // trainer.world_size, trainer.accumulate_grad_batches
    module = SparseFinetuning(lvlm, objective, settings, on_this_rank // accumulated)
    sampler = Remaining(batch_count, trainer.global_rank, trainer.world_size, lambda: trainer.global_step * accumulated)
    trainer.val_check_interval = on_this_rank // settings.epochs
    with quiet(*INTENDED), interruptible():
        trainer.fit(
            module,
            loader(batches, sampler, workers),
            None if held_out is None else loader(held_out, None, 0),
            ckpt_path=checkpoint if checkpoint.is_file() else None,
            weights_only=True,
        )
    state = module.trained_state(trainer.strategy.lightning_module_state_dict())
    weights = {name.removeprefix("model."): value.detach().cpu() for name, value in state.items()}
    # No loss has been computed with the last step's weights yet.
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise Diverged("weights", settings.learning_rate, trainer.global_step)
    return Finetuned(weights, trainer.global_step, module.validation)


def finish(lvlm: LVLM, masks: Mapping[str, Tensor], settings: Settings, weights: Mapping[str, Tensor]) -> None:
    """Loads trained parameters into the pruned model that they come from, and makes it an ordinary model again.

    Untrained parameters stay bit-identical, and all parameters keep their dtypes.

    Raises:
        ValueError: if a pruned weight is not zero.
    """
    sites = prepare(lvlm, masks, settings)
    unknown = lvlm.model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"weights: the model has no parameter {unknown[0]!r}")
    merge(sites)
    still_zero(sites)
    lvlm.model.requires_grad_(True)
