"""Backward passes through one block: how its output changes with the outputs of its Linears."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from atv.calibration.suspension import Arrival
from atv.model.hooks import differentiable_outputs


@dataclass(frozen=True)
class BlockGradients:
    """Results of backward passes of a batch through a block, by Linear; a result that was not requested is empty.

    ``of_norm`` is the gradient with respect to the Linear's output, and has its shape: the gradient of the norm of a
    sample's block output times the square root of the number of its values. ``sensitivity`` (batch, length) is the
    sensitivity to each token, see ``Tokens.sensitivity``.
    """

    of_norm: dict[str, Tensor] = field(default_factory=dict)
    sensitivity: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class BackwardPass:
    """Computes gradients of the ``norm`` of a block's output, the ``sensitivity`` of tokens, both, or neither.

    Weights get no gradients; memory holds only the graph of one batch through one block.
    """

    norm: bool = False
    sensitivity: bool = False

    def run(
        self,
        arrival: Arrival,
        block: nn.Module,
        linears: Mapping[str, nn.Linear],
        valid: Tensor,
        seed: tuple[int, int, int],
    ) -> BlockGradients:
        """Runs the block again on its inputs, and then backward.

        Args:
            arrival: arrival of a batch at the block.
            block: the dense module.
            linears: the Linears of the block to examine, by name.
            valid: bool (batch, length).
            seed: seed of the first sample's signs: the run's seed, the block, and the sample's index, which counts up
                for the samples after it.

        Raises:
            ValueError: if the block cannot be run backward, or gradients are not finite.
        """
        if not linears or not (self.norm or self.sensitivity):
            return BlockGradients()
        assert arrival.again is not None
        kind = f"block {arrival.block} ({type(block).__name__})"
        of_norm: dict[str, Tensor] = {}
        sensitivity: dict[str, Tensor] = {}
        with differentiable(kind), differentiable_outputs(block, linears) as made:
            output = arrival.again()
            if overwritten := [name for name, own in made.items() if own._version]:
                raise ValueError(f"calibration: {kind} overwrites the output of {overwritten[0]}; its gradient is lost")
            if self.norm:
                of_norm = _pulled(output, made, unit_outputs(output, valid), keep=self.sensitivity)
            if self.sensitivity:
                pulled = _pulled(output, made, signs(output, valid, *seed))
                sizes = {name: part.float().square().sum(-1) for name, part in pulled.items()}
                sensitivity = {name: size.reshape(valid.shape) for name, size in sizes.items()}
        for name, part in (*of_norm.items(), *sensitivity.items()):
            if not part.reshape(*valid.shape, -1)[valid].isfinite().all():
                raise ValueError(f"calibration: gradients of {kind} at {name} contain NaN or infinite values")
        return BlockGradients(of_norm, sensitivity)


@contextmanager
def differentiable(block: str) -> Iterator[None]:
    """Names the block in the error that PyTorch raises if it cannot be run backward.

    Raises:
        ValueError: instead of a RuntimeError, unless memory ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"calibration: {block} cannot be run backward, which this run requires: {why}") from error


def _pulled(output: Tensor, made: Mapping[str, Tensor], vector: Tensor, keep: bool = False) -> dict[str, Tensor]:
    """Returns, by Linear, ``vector`` (shaped like ``output``) times d output / d ``made``, in the shape of the latter.

    The product is zero if the output does not depend on the Linear. ``keep`` retains the graph for another vector.
    """
    found = torch.autograd.grad(output, list(made.values()), vector, retain_graph=keep, allow_unused=True)
    pairs = zip(made.items(), found, strict=True)
    return {name: torch.zeros_like(own) if part is None else part for (name, own), part in pairs}


def unit_outputs(output: Tensor, valid: Tensor) -> Tensor:
    """Returns each sample's valid outputs divided by their root mean square, 0 elsewhere: (batch, length, width).

    This is the gradient of the sample's norm times the square root of the number of its outputs; half precision can
    represent it.
    """
    exact = output.detach().float() * valid[..., None]
    count = valid.sum(1).clamp(min=1) * output.shape[-1]
    mean = exact.square().sum((1, 2)) / count
    return (exact / mean.clamp(min=torch.finfo(mean.dtype).tiny).sqrt()[:, None, None]).to(output.dtype)


def signs(output: Tensor, valid: Tensor, seed: int, block: int, first_sample: int) -> Tensor:
    """Draws 1 or -1 for each sample's valid outputs, else 0: (batch, length, width); see ``Tokens.sensitivity``."""
    made = torch.zeros_like(output)
    for row in range(len(valid)):
        length, width = int(valid[row].sum()), output.shape[-1]
        drawn = np.random.default_rng((seed, block, first_sample + row)).integers(0, 2, length + width)
        sign = torch.from_numpy(drawn * 2 - 1).to(made)
        made[row, valid[row]] = sign[:length, None] * sign[None, length:]
    return made
