"""Muon for the matrices, AdamW for the rest, and one schedule for both."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lightning as L
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up over ``warmup`` steps, constant up to the fraction ``hold`` of all, then linear decay to zero."""

    steps: int
    warmup: int
    hold: float = 0.5

    def __call__(self, step: int) -> float:
        """Returns the factor on every learning rate."""
        decay = (1 - step / self.steps) / (1 - self.hold) if self.hold < 1 else 1.0
        return min(1.0, (step + 1) / self.warmup, max(0.0, decay))


def optimizers(
    matrices: Iterable[nn.Parameter], rest: Iterable[dict[str, Any]], muon_lr: float, schedule: Schedule
) -> tuple[list[Optimizer], list[LRScheduler]]:
    """Returns both optimizers with their schedulers; ``rest`` are AdamW's parameter groups, each with its own "lr"."""
    muon = Muon(matrices, lr=muon_lr, weight_decay=0.02, momentum=0.95)
    adam = AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0)
    return [muon, adam], [LambdaLR(muon, schedule), LambdaLR(adam, schedule)]


def split_parameters(*modules: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Returns (weights of Linears, all other parameters); Muon orthogonalises updates of hidden matrices only."""
    linears = {id(m.weight) for root in modules for m in root.modules() if isinstance(m, nn.Linear)}
    by_id = {id(p): p for root in modules for p in root.parameters()}
    return [p for i, p in by_id.items() if i in linears], [p for i, p in by_id.items() if i not in linears]


def descend(module: L.LightningModule, loss: Tensor, norm: float = 1.0) -> None:
    """Steps every optimizer and scheduler of a manually optimized module, with the total gradient norm clipped."""
    optimizers: Any = module.optimizers()
    schedulers: Any = module.lr_schedulers()
    for optimizer in optimizers:
        optimizer.zero_grad()
    module.manual_backward(loss)
    nn.utils.clip_grad_norm_(module.parameters(), norm)
    for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
        optimizer.step()
        scheduler.step()
