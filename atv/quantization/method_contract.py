"""Whether what a method of quantization gives is what its kind asks for."""

from typing import Any

import torch
from torch import Tensor

from atv.plugins import ContractError
from atv.quantization.base import Quantizer
from atv.quantization.whole_numbers import Quantized, RoundingGrid


def check_quantized(method: Quantizer, made: Any, mask: Tensor, grid: RoundingGrid, name: str) -> None:
    """Checks what ``quantize`` gave for the Linear called ``name``, of the mask's shape (out, in).

    Raises:
        ContractError: unless it is whole numbers, zero where the mask prunes, and finite scales, one a group.
    """
    kind = f"method: {type(method).__name__}"
    if not isinstance(made, Quantized):
        raise ContractError(f"{kind}.quantize gave a {type(made).__name__} for {name}; expected Quantized")
    if made.whole.dtype != torch.int8 or made.whole.shape != mask.shape or bool(made.whole[~mask].any()):
        raise ContractError(f"{kind} filled zeros of {name}, or changed its shape")
    expected = len(mask), mask.shape[1] // grid.width
    if made.scale.shape != expected:
        raise ContractError(f"{kind}.quantize gave scales {tuple(made.scale.shape)} for {name}; expected {expected}")
    if not made.scale.isfinite().all():
        raise ContractError(f"{kind}.quantize gave scales that are not finite for {name}")


def check_channel_scale(method: Quantizer, scale: Any, weight: Tensor, name: str) -> None:
    """Checks what ``channel_scale`` gave for the inputs of the Linear called ``name``, its weight (out, in).

    Raises:
        ContractError: unless it is finite and positive (in,).
    """
    kind, expected = f"method: {type(method).__name__}.channel_scale", (weight.shape[1],)
    if not isinstance(scale, Tensor) or scale.shape != expected:
        made = f"scales {tuple(scale.shape)}" if isinstance(scale, Tensor) else f"a {type(scale).__name__}"
        raise ContractError(f"{kind} gave {made} for the inputs of {name}; expected scales {expected}")
    if not (scale.isfinite().all() and (scale > 0).all()):
        raise ContractError(f"{kind} gave scales that are not finite and positive for the inputs of {name}")
