"""Checks that a quantization method returns what its base class requires, also by a trial before any sample is read."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from atv.calibration.contracts import on_a_copy
from atv.calibration.unchanged_inputs import unchanged
from atv.criteria import PoolStatistics
from atv.plugins import ContractError
from atv.quantization.base import Quantizer
from atv.quantization.whole_numbers import Quantized, RoundingGrid

_ROWS = _WIDTH = 64
# A wider group is replaced by one of this many inputs in the trial, since a method's work grows with their cube.
_WIDEST = 256


def check_method(method: Quantizer, bits: int, group_size: int | Literal["row"], dtype: torch.dtype) -> None:
    """Checks what a copy of the method returns for a made-up weight, whose rows have one or two groups.

    Args:
        dtype: dtype of the weights that will be rounded.

    Raises:
        ContractError: if it is wrong; the message names the class and the problem.
    """
    grid = RoundingGrid(bits, _WIDTH if group_size == "row" else min(group_size, _WIDEST))
    width = grid.width if group_size == "row" else 2 * grid.width
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        on_a_copy(method, lambda tried: _try(tried, grid, width, dtype))


def _try(method: Quantizer, grid: RoundingGrid, width: int, dtype: torch.dtype) -> None:
    drawn = torch.Generator().manual_seed(0)
    weight, inputs = (torch.randn(rows, width, generator=drawn) for rows in (_ROWS, 2 * width))
    gram = inputs.double().T @ inputs.double() / len(inputs) if method.needs_gram else None
    pool, name = PoolStatistics(inputs.square().mean(0).sqrt(), gram), "a made-up weight"
    mask, weight = weight.abs() > 0.5, weight.to(dtype)
    if method.scales_channels:
        channel_scale(method, {name: weight}, {name: mask}, pool, grid)
    quantized(method, weight, mask, pool, grid, name)


def quantized(
    method: Quantizer, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid, name: str
) -> Quantized:
    """Returns the checked result of ``quantize`` for the Linear called ``name``, with its weight and mask (out, in).

    Raises:
        ContractError: unless it has integers of the grid, zero where the mask prunes, and one finite positive scale per
            group in the weight's dtype.
    """
    with unchanged(method, "quantize", weight=weight, mask=mask, pool=pool):
        made: Any = method.quantize(weight, mask, pool, grid)
    kind = f"method: {type(method).__name__}"
    if not isinstance(made, Quantized):
        raise ContractError(f"{kind}.quantize returned a {type(made).__name__} for {name}; expected Quantized")
    if made.whole.dtype != torch.int8:
        raise ContractError(f"{kind}.quantize returned integers in {made.whole.dtype} for {name}; expected torch.int8")
    if made.whole.shape != mask.shape or bool(made.whole[~mask].any()):
        raise ContractError(f"{kind} filled zeros of {name}, or changed its shape; zeros must stay zero")
    least, most = int(made.whole.min()), int(made.whole.max())
    if least < grid.lowest or most > grid.highest:
        raise ContractError(
            f"{kind}.quantize returned integers from {least} to {most} for {name}; expected {grid.lowest} to "
            f"{grid.highest}"
        )
    expected = len(mask), mask.shape[1] // grid.width
    if made.scale.shape != expected:
        raise ContractError(
            f"{kind}.quantize returned scales {tuple(made.scale.shape)} for {name}; expected {expected}"
        )
    if made.scale.dtype != weight.dtype:
        raise ContractError(
            f"{kind}.quantize returned scales in {made.scale.dtype} for {name}; expected {weight.dtype}"
        )
    if not (made.scale.isfinite().all() and (made.scale > 0).all()):
        raise ContractError(f"{kind}.quantize returned scales that are not finite and positive for {name}")
    return made


def channel_scale(
    method: Quantizer,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    pool: PoolStatistics,
    grid: RoundingGrid,
) -> Tensor:
    """Returns the checked result of ``channel_scale`` for the inputs of these Linears (weights and masks: (out, in)).

    Raises:
        ContractError: unless it is finite and positive (in,); the message names the first Linear.
    """
    with unchanged(method, "channel_scale", weights=weights, masks=masks, pool=pool):
        scale: Any = method.channel_scale(weights, masks, pool, grid)
    name, weight = next(iter(weights.items()))
    kind, expected = f"method: {type(method).__name__}.channel_scale", (weight.shape[1],)
    if not isinstance(scale, Tensor) or scale.shape != expected:
        made = f"scales {tuple(scale.shape)}" if isinstance(scale, Tensor) else f"a {type(scale).__name__}"
        raise ContractError(f"{kind} returned {made} for the inputs of {name}; expected scales {expected}")
    if not (scale.isfinite().all() and (scale > 0).all()):
        raise ContractError(f"{kind} returned scales that are not finite and positive for the inputs of {name}")
    return scale
