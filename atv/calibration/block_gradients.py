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
        assert arrival.rerun is not None
        block_label = f"block {arrival.block} ({type(block).__name__})"
        of_norm: dict[str, Tensor] = {}
        sensitivity: dict[str, Tensor] = {}
        with differentiable(block_label), differentiable_outputs(block, linears) as linear_outputs:
            output = arrival.rerun()
            if overwritten := [name for name, linear_output in linear_outputs.items() if linear_output._version]:
                raise ValueError(
                    f"calibration: {block_label} overwrites the output of {overwritten[0]}; its gradient is lost"
                )
            if self.norm:
                of_norm = _vector_products(output, linear_outputs, unit_outputs(output, valid), keep=self.sensitivity)
            if self.sensitivity:
                products = _vector_products(output, linear_outputs, signs(output, valid, *seed))
                squared_lengths = {name: values.float().square().sum(-1) for name, values in products.items()}
                sensitivity = {
                    name: squared_length.reshape(valid.shape) for name, squared_length in squared_lengths.items()
                }
        for name, values in (*of_norm.items(), *sensitivity.items()):
            if not values.reshape(*valid.shape, -1)[valid].isfinite().all():
                raise ValueError(f"calibration: gradients of {block_label} at {name} contain NaN or infinite values")
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
        reason = str(error).splitlines()[0]
        raise ValueError(f"calibration: {block} cannot be run backward, which this run requires: {reason}") from error


def _vector_products(
    output: Tensor, linear_outputs: Mapping[str, Tensor], vector: Tensor, keep: bool = False
) -> dict[str, Tensor]:
    """Returns, by Linear, ``vector`` (shaped like ``output``) times d output / d linear output, shaped like the latter.

    The product is zero if the output does not depend on the Linear. ``keep`` retains the graph for another vector.
    """
    gradients = torch.autograd.grad(output, list(linear_outputs.values()), vector, retain_graph=keep, allow_unused=True)
    pairs = zip(linear_outputs.items(), gradients, strict=True)
    return {
        name: torch.zeros_like(linear_output) if gradient is None else gradient
        for (name, linear_output), gradient in pairs
    }


def unit_outputs(output: Tensor, valid: Tensor) -> Tensor:
    """Returns each sample's valid outputs divided by their root mean square, 0 elsewhere: (batch, length, width).

    This is the gradient of the sample's norm times the square root of the number of its outputs; half precision can
    represent it.
    """
    valid_output = output.detach().float() * valid[..., None]
    count = valid.sum(1).clamp(min=1) * output.shape[-1]
    mean_square = valid_output.square().sum((1, 2)) / count
    return (valid_output / mean_square.clamp(min=torch.finfo(mean_square.dtype).tiny).sqrt()[:, None, None]).to(
        output.dtype
    )


def signs(output: Tensor, valid: Tensor, seed: int, block: int, first_sample: int) -> Tensor:
    """Draws 1 or -1 for each sample's valid outputs, else 0: (batch, length, width); see ``Tokens.sensitivity``."""
    sign_products = torch.zeros_like(output)
    for row in range(len(valid)):
        length, width = int(valid[row].sum()), output.shape[-1]
        bits = np.random.default_rng((seed, block, first_sample + row)).integers(0, 2, length + width)
        row_signs = torch.from_numpy(bits * 2 - 1).to(sign_products)
        sign_products[row, valid[row]] = row_signs[:length, None] * row_signs[None, length:]
    return sign_products
