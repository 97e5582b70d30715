"""The training loop's module."""

from typing import Any

import lightning as L
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import AdamW
from transformers import get_cosine_schedule_with_warmup

from atv.finetuning.objectives import Objective, shard
from atv.finetuning.settings import Settings
from atv.model.lvlm import LVLM


class SparseFinetuning(L.LightningModule):
    """Trains what asks for gradients with AdamW, after a linear warm-up at a rate that falls as a cosine.

    The model stays in evaluation mode: no dropout, and statistics of frozen layers do not move. Checkpoints hold the
    trained parameters alone.

    Args:
        objective: what is lowered.
        steps: optimizer steps of the whole run.
    """

    def __init__(self, lvlm: LVLM, objective: Objective, settings: Settings, steps: int) -> None:
        super().__init__()
        self.model, self.objective, self.settings, self.steps = lvlm.model, objective, settings, steps
        self._lvlm = lvlm
        self.strict_loading = False
        self.trained = {f"model.{name}" for name, parameter in lvlm.model.named_parameters() if parameter.requires_grad}
        self.validation: list[dict[str, float]] = []
        self._sums = [0.0, 0]

    def configure_model(self) -> None:
        """Shards the parameters block by block (FSDP2), where the strategy has a mesh for it."""
        if self._mesh is not None:
            shard(self._lvlm, self._mesh)

    @property
    def _mesh(self) -> DeviceMesh | None:
        return None if self.device_mesh is None else self.device_mesh["data_parallel"]

    def on_fit_start(self) -> None:
        self.objective.place(self.device, self._mesh)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The objective, over the batch's tokens that count."""
        loss, _ = self.objective.loss(self.model, batch)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Every rank sees all batches, so nothing is exchanged."""
        loss, tokens = self.objective.loss(self.model, batch)
        self._sums = [self._sums[0] + float(loss) * tokens, self._sums[1] + tokens]

    def on_validation_epoch_end(self) -> None:
        total, tokens = self._sums
        self._sums = [0.0, 0]
        loss = total / tokens
        self.log("validation_loss", loss, prog_bar=True, rank_zero_only=True)
        if not any(seen["step"] == self.global_step for seen in self.validation):
            self.validation.append({"step": self.global_step, "loss": loss})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        chosen = self.settings
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = AdamW(trained, lr=chosen.learning_rate, betas=(0.9, 0.95), weight_decay=chosen.weight_decay)
        schedule = get_cosine_schedule_with_warmup(optimizer, round(chosen.warmup * self.steps), self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self.own(checkpoint["state_dict"])
        checkpoint["validation"] = self.validation

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validation = checkpoint["validation"]

    def own(self, state: dict[str, Any]) -> dict[str, Any]:
        """The trained parameters of a state dict."""
        return {name: value for name, value in state.items() if name in self.trained}
