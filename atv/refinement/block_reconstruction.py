"""Kept weights of a block trained against the dense block's outputs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32
from atv.plugins import above_zero, at_least
from atv.refinement.base import Reconstruction

# As published, with whether the rate falls to 0 by equal steps: arXiv 2503.04992 and 2510.14444.
_PUBLISHED = {"RMSprop": (3e-7, False), "AdamW": (1e-5, True)}


class PrunedBlock(ABC):
    """A block that all samples wait at, for what trains its Linears.

    ``batches`` are the numbers of those that came there, in order and on whichever rank they are. Weights are by
    Linear, zero where they are pruned.
    """

    batches: tuple[int, ...]

    @abstractmethod
    def lost(self, weights: Mapping[str, Tensor]) -> float:
        """The share of the block's squared output that is lost under some weights, over all samples."""

    @abstractmethod
    def gradients(self, batch: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By Linear, the gradient of a batch's loss: the squared error of a token's output, mean over tokens.

        Of the dtype that the weights are given in, equal on every rank.
        """


class BlockReconstruction(Reconstruction):
    """Trains the kept weights of each block so that it gives what the dense one gave; zeros stay zero.

    After the mask, one step a calibration batch, in order, on the mean over tokens of ||block(x) - dense block(x)||^2,
    x what the pruned blocks before it make of the samples. With ``RMSprop`` it is Wanda++'s regional optimizer (arXiv
    2503.04992) under a mask that stays, with ``AdamW`` the reconstruction of arXiv 2510.14444. Weights that do not
    lower the block's error over all samples are not taken. An epoch costs a forward and a backward of each block, and
    the error before and after three forwards besides; memory is that of one batch's graph, of three float32 copies of
    the block's Linears (four with ``AdamW``), and of its outputs for all samples.

    Args:
        optimizer: ``AdamW`` with a rate that falls to 0 by equal steps, or ``RMSprop`` with one that stays.
        rate: of learning at first; None is the published one, 1e-5 or 3e-7.
        epochs: how often every batch is seen.
        first: what gives the kept weights their first values, such as ``LeastSquares``; None keeps those that the
            criterion made.

    Raises:
        ValueError: for an argument out of range, or a ``first`` that moves biases.
    """

    def __init__(
        self,
        optimizer: Literal["AdamW", "RMSprop"] = "AdamW",
        rate: float | None = None,
        epochs: int = 1,
        first: Reconstruction | None = None,
    ) -> None:
        if optimizer not in _PUBLISHED:
            raise ValueError(f"optimizer: expected AdamW or RMSprop, got {optimizer!r}")
        above_zero(rate=rate)
        at_least(1, epochs=epochs)
        if isinstance(first, BlockReconstruction):
            raise ValueError("first: BlockReconstruction cannot come before itself; raise epochs")
        if first is not None and first.needs_bias:
            kind = type(first).__name__
            raise ValueError(f"first: {kind} moves biases, and training is of weights alone; choose LeastSquares")
        self.optimizer, self.rate, self.epochs, self.first = optimizer, rate, epochs, first
        if first is not None:
            self.needs_gram, self.needs_moments = first.needs_gram, first.needs_moments

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """The first values of one Linear; the dense ones without ``first``."""
        return weight if self.first is None else self.first.reconstruct(weight, mask, pool)

    def train(
        self, block: PrunedBlock, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The new weights, at least float32 (out, in) by Linear.

        Args:
            block: where samples wait.
            weights: as they were pruned (out, in).
            masks: bool (out, in), True = kept.
        """
        learned = {name: torch.nn.Parameter(at_least_float32(weight).clone()) for name, weight in weights.items()}
        optimizer, rate, falls = self._made(list(learned.values()))
        steps = self.epochs * len(block.batches)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / steps) if falls else rate
            batch = block.batches[step % len(block.batches)]
            values = {name: weight.detach() for name, weight in learned.items()}
            for name, gradient in block.gradients(batch, values).items():
                learned[name].grad = gradient.masked_fill(~masks[name].to(gradient.device), 0)
            optimizer.step()
        return {name: weight.detach() for name, weight in learned.items()}

    def _made(self, weights: list[torch.nn.Parameter]) -> tuple[torch.optim.Optimizer, float, bool]:
        """The optimizer, the rate at first, and whether it falls."""
        rate, falls = _PUBLISHED[self.optimizer]
        rate = rate if self.rate is None else self.rate
        if self.optimizer == "RMSprop":
            return torch.optim.RMSprop(weights, rate), rate, falls
        return torch.optim.AdamW(weights, rate, weight_decay=0.0), rate, falls
