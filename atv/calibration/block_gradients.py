"""Backward passes through one block: how its output moves with what its Linears make of the tokens."""

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
    """What backward passes of a batch through a block found, by Linear; empty where it was not asked for.

    ``of_norm`` is how the norm of a sample's block output, times the root of the number of its values, moves with what
    the Linear gives, and shaped like that; ``sensitivity`` (batch, length) is that of each token, see
    ``Tokens.sensitivity``.
    """

    of_norm: dict[str, Tensor] = field(default_factory=dict)
    sensitivity: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class BackwardPass:
    """What is asked of it: gradients of the ``norm`` of the block's output, the ``sensitivity`` of tokens, or neither.

    Weights get no gradient: what is held is the graph of one batch through one block.
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
        """Runs the block again on what it was given, and backward.

        Args:
            arrival: of a batch at the block.
            block: the module, dense.
            linears: those of the block that are asked about, by name.
            valid: bool (batch, length).
            seed: what the first sample's signs are drawn from: the run's, the block, and the sample, which counts on.

        Raises:
            ValueError: for a block that cannot be run backward, or gradients that are not finite.
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
                raise ValueError(f"calibration: {kind} overwrites what {overwritten[0]} gave, whose gradient is lost")
            if self.norm:
                of_norm = _pulled(output, made, unit_outputs(output, valid), keep=self.sensitivity)
            if self.sensitivity:
                pulled = _pulled(output, made, signs(output, valid, *seed))
                sizes = {name: part.float().square().sum(-1) for name, part in pulled.items()}
                sensitivity = {name: size.reshape(valid.shape) for name, size in sizes.items()}
        for name, part in (*of_norm.items(), *sensitivity.items()):
            if not part.reshape(*valid.shape, -1)[valid].isfinite().all():
                raise ValueError(f"calibration: gradients of {kind} at {name} hold NaN or infinite values")
        return BlockGradients(of_norm, sensitivity)


@contextmanager
def differentiable(block: str) -> Iterator[None]:
    """Has the block's name in what torch says where it cannot be run backward.

    Raises:
        ValueError: in place of a RuntimeError, but for a lack of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"calibration: {block} cannot be run backward, which was asked for: {why}") from error


def _pulled(output: Tensor, made: Mapping[str, Tensor], vector: Tensor, keep: bool = False) -> dict[str, Tensor]:
    """By Linear, ``vector`` (shaped like ``output``) times d output / d what it ``made``, shaped like the latter.

    Zeros where the output does not depend on it; ``keep`` leaves the graph for another vector.
    """
    found = torch.autograd.grad(output, list(made.values()), vector, retain_graph=keep, allow_unused=True)
    pairs = zip(made.items(), found, strict=True)
    return {name: torch.zeros_like(own) if part is None else part for (name, own), part in pairs}


def unit_outputs(output: Tensor, valid: Tensor) -> Tensor:
    """Each sample's valid outputs over their root mean square, others 0: (batch, length, width).

    That is the gradient of the sample's norm times the root of the number of its outputs, which half precision holds.
    """
    exact = output.detach().float() * valid[..., None]
    count = valid.sum(1).clamp(min=1) * output.shape[-1]
    mean = exact.square().sum((1, 2)) / count
    return (exact / mean.clamp(min=torch.finfo(mean.dtype).tiny).sqrt()[:, None, None]).to(output.dtype)


def signs(output: Tensor, valid: Tensor, seed: int, block: int, first_sample: int) -> Tensor:
    """1 or -1 for each sample's valid outputs, others 0: (batch, length, width); see ``Tokens.sensitivity``."""
    made = torch.zeros_like(output)
    for row in range(len(valid)):
        length, width = int(valid[row].sum()), output.shape[-1]
        drawn = np.random.default_rng((seed, block, first_sample + row)).integers(0, 2, length + width)
        sign = torch.from_numpy(drawn * 2 - 1).to(made)
        made[row, valid[row]] = sign[:length, None] * sign[None, length:]
    return made
