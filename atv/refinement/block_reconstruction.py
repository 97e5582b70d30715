"""Training of a block's kept weights to reproduce the dense block's outputs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32
from atv.plugins import above_zero, at_least
from atv.refinement.base import Reconstruction

# Published learning rates, and whether the rate falls linearly to 0: arXiv 2503.04992 and 2510.14444.
_PUBLISHED = {"RMSprop": (3e-7, False), "AdamW": (1e-5, True)}


class PrunedBlock(ABC):
    """A pruned block at which all samples wait, as seen by the code that trains its Linears.

    ``batches`` are the indices of the batches that reached the block, in order, on all ranks. Weights are given by
    Linear, with zeros where they are pruned.
    """

    batches: tuple[int, ...]

    @abstractmethod
    def lost(self, weights: Mapping[str, Tensor]) -> float:
        """Returns the share of the block's squared output that is lost with these weights, over all samples."""

    @abstractmethod
    def gradients(self, batch: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the gradient of a batch's loss, by Linear: the squared error of a token's output, mean over tokens.

        It has the dtype of the given weights and is the same on every rank.
        """


class BlockReconstruction(Reconstruction):
    """Trains the kept weights of each block to reproduce the dense block's output; zeros stay zero.

    Training starts once the masks are chosen and takes one step per calibration batch, in order. The loss is the mean
    over tokens of ||block(x) - dense block(x)||^2, where x is the output of the pruned blocks before it. With
    ``RMSprop`` this is Wanda++'s regional optimizer (arXiv 2503.04992) under a fixed mask; with ``AdamW`` it is the
    reconstruction of arXiv 2510.14444. Weights that do not lower the block's error over all samples are discarded.

    An epoch takes a forward and a backward pass of each block; the error before and after takes three more forwards.
    Memory must hold the graph of one batch, three float32 copies of the block's Linears (four with ``AdamW``), and the
    block's outputs for all samples.

    Args:
        optimizer: ``AdamW`` with a learning rate that falls linearly to 0, or ``RMSprop`` with a constant one.
        rate: initial learning rate. Default: the published one, 1e-5 for ``AdamW`` or 3e-7 for ``RMSprop``.
        epochs: number of passes over the calibration batches.
        first: method that gives the kept weights their initial values, such as ``LeastSquares``. Default: they start
            with the values that the criterion left.

    Raises:
        ValueError: if an argument is out of range, or ``first`` changes biases.
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
            raise ValueError("first: BlockReconstruction cannot come before itself; increase epochs instead")
        if first is not None and first.needs_bias:
            class_name = type(first).__name__
            raise ValueError(f"first: {class_name} changes biases, but only weights are trained; choose LeastSquares")
        self.optimizer, self.rate, self.epochs, self.first = optimizer, rate, epochs, first
        if first is not None:
            self.needs_gram, self.needs_moments = first.needs_gram, first.needs_moments

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the initial weight of one Linear: the dense one if there is no ``first``."""
        return weight if self.first is None else self.first.reconstruct(weight, mask, pool)

    def train(
        self, block: PrunedBlock, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Returns the new weights by Linear (out, in), in at least float32.

        Args:
            block: the block at which the samples wait.
            weights: pruned weights by Linear (out, in).
            masks: masks by Linear, bool (out, in), True = kept.
        """
        parameters = {name: torch.nn.Parameter(at_least_float32(weight).clone()) for name, weight in weights.items()}
        optimizer, rate, decays = self._optimizer_and_rate(list(parameters.values()))
        steps = self.epochs * len(block.batches)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / steps) if decays else rate
            batch = block.batches[step % len(block.batches)]
            values = {name: weight.detach() for name, weight in parameters.items()}
            for name, gradient in block.gradients(batch, values).items():
                parameters[name].grad = gradient.masked_fill(~masks[name].to(gradient.device), 0)
            optimizer.step()
        return {name: weight.detach() for name, weight in parameters.items()}

    def _optimizer_and_rate(self, weights: list[torch.nn.Parameter]) -> tuple[torch.optim.Optimizer, float, bool]:
        """Returns the optimizer, its initial learning rate, and whether the rate falls."""
        rate, decays = _PUBLISHED[self.optimizer]
        rate = rate if self.rate is None else self.rate
        if self.optimizer == "RMSprop":
            return torch.optim.RMSprop(weights, rate), rate, decays
        return torch.optim.AdamW(weights, rate, weight_decay=0.0), rate, decays
