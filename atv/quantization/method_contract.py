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
_WIDEST_GROUP = 256


def check_method(method: Quantizer, bits: int, group_size: int | Literal["row"], dtype: torch.dtype) -> None:
    """Checks what a copy of the method returns for a made-up weight, whose rows have one or two groups.

    Args:
        dtype: dtype of the weights that will be rounded.

    Raises:
        ContractError: if it is wrong; the message names the class and the problem.
    """
    grid = RoundingGrid(bits, _WIDTH if group_size == "row" else min(group_size, _WIDEST_GROUP))
    width = grid.width if group_size == "row" else 2 * grid.width
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        on_a_copy(method, lambda method_copy: _check_copy(method_copy, grid, width, dtype))


def _check_copy(method: Quantizer, grid: RoundingGrid, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, inputs = (torch.randn(rows, width, generator=generator) for rows in (_ROWS, 2 * width))
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
        result: Any = method.quantize(weight, mask, pool, grid)
    label = f"method: {type(method).__name__}"
    if not isinstance(result, Quantized):
        raise ContractError(f"{label}.quantize returned a {type(result).__name__} for {name}; expected Quantized")
    if result.whole.dtype != torch.int8:
        raise ContractError(
            f"{label}.quantize returned integers in {result.whole.dtype} for {name}; expected torch.int8"
        )
    if result.whole.shape != mask.shape or bool(result.whole[~mask].any()):
        raise ContractError(f"{label} filled zeros of {name}, or changed its shape; zeros must stay zero")
    lowest, highest = int(result.whole.min()), int(result.whole.max())
    if lowest < grid.lowest or highest > grid.highest:
        raise ContractError(
            f"{label}.quantize returned integers from {lowest} to {highest} for {name}; expected {grid.lowest} to "
            f"{grid.highest}"
        )
    expected = len(mask), mask.shape[1] // grid.width
    if result.scale.shape != expected:
        raise ContractError(
            f"{label}.quantize returned scales {tuple(result.scale.shape)} for {name}; expected {expected}"
        )
    if result.scale.dtype != weight.dtype:
        raise ContractError(
            f"{label}.quantize returned scales in {result.scale.dtype} for {name}; expected {weight.dtype}"
        )
    if not (result.scale.isfinite().all() and (result.scale > 0).all()):
        raise ContractError(f"{label}.quantize returned scales that are not finite and positive for {name}")
    return result


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
    label, expected = f"method: {type(method).__name__}.channel_scale", (weight.shape[1],)
    if not isinstance(scale, Tensor) or scale.shape != expected:
        description = f"scales {tuple(scale.shape)}" if isinstance(scale, Tensor) else f"a {type(scale).__name__}"
        raise ContractError(f"{label} returned {description} for the inputs of {name}; expected scales {expected}")
    if not (scale.isfinite().all() and (scale > 0).all()):
        raise ContractError(f"{label} returned scales that are not finite and positive for the inputs of {name}")
    return scale
