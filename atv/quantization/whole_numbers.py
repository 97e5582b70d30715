"""The values that a quantized weight can have: integers, including zero, times the scale of their group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from atv.model.targets import Target

BITS = (3, 4, 8)
GroupSize = int | Literal["row"] | None
# The group size that most kernels support.
_DEFAULT_SIZE = 128
_SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class RoundingGrid:
    """Integers of ``bits`` bits, symmetric around zero, with one scale per ``width`` consecutive inputs of a row."""

    bits: int
    width: int

    @property
    def lowest(self) -> int:
        return -self.highest - 1

    @property
    def highest(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def scales(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns one scale per group (out, groups), in ``dtype``, that maps its largest value to ``highest``."""
        return storable(self.grouped(values).abs().amax(2) / self.highest, dtype)

    def rounded(self, values: Tensor, scale: Tensor, mask: Tensor) -> "Quantized":
        """Rounds ``values`` (out, in) to the nearest ones with these scales (out, groups), and to 0 where pruned."""
        integers = (self.grouped(values) / scale.to(values.dtype)[:, :, None]).round()
        integers = integers.clamp(self.lowest, self.highest).flatten(1)
        return Quantized(integers.masked_fill(~mask, 0).to(torch.int8), scale)

    def grouped(self, values: Tensor) -> Tensor:
        """Reshapes (out, in) to (out, groups, width)."""
        return rearrange(values, "out (group width) -> out group width", width=self.width)


@dataclass(frozen=True)
class Quantized:
    """A weight as integers, int8 (out, in), and scales (out, groups) in the model's dtype."""

    whole: Tensor
    scale: Tensor

    @property
    def weight(self) -> Tensor:
        """The weight that a model computes with, (out, in) in the scales' dtype: one product, rounded once."""
        width = self.whole.shape[1] // self.scale.shape[1]
        grouped = rearrange(self.whole.to(self.scale.dtype), "out (group width) -> out group width", width=width)
        return (grouped * self.scale[:, :, None]).flatten(1)


def storable(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns scales in the model's dtype; 0, from a group of zeros, becomes the smallest positive normal number."""
    stored = scale.to(dtype)
    return stored.masked_fill(stored == 0, torch.finfo(dtype).tiny)


def require_bits(bits: int) -> None:
    """Checks the number of bits per weight.

    Raises:
        ValueError: if the number is not supported.
    """
    if bits not in BITS:
        raise ValueError(f"bits: expected one of {', '.join(map(str, BITS))}, got {bits}")


def chosen_group_size(targets: Mapping[str, Target], group_size: GroupSize) -> int | Literal["row"]:
    """Returns the number of inputs that share a scale: ``group_size``, or by default 128, or else "row".

    The default is "row" if 128 does not divide the inputs of every target.

    Raises:
        ValueError: if the size is below 2 or does not divide a target's inputs.
    """
    widths = {name: target.in_features for name, target in targets.items()}
    if group_size is None:
        return "row" if any(width % _DEFAULT_SIZE for width in widths.values()) else _DEFAULT_SIZE
    if isinstance(group_size, int) and group_size < 2:
        raise ValueError(f"group_size: expected at least 2 inputs, or 'row', got {group_size}")
    for name, width in widths.items():
        if isinstance(group_size, int) and width % group_size:
            fitting = [size for size in _SIZES if not any(width % size for width in widths.values())]
            choices = ", ".join(map(str, [*fitting, "row"]))
            raise ValueError(
                f"group_size: {group_size} does not divide the {width} inputs of {name}; choices: {choices}"
            )
    return group_size


def grids(targets: Mapping[str, Target], bits: int, group_size: int | Literal["row"]) -> dict[str, RoundingGrid]:
    """Returns the rounding grid of each target."""
    widths = {name: target.in_features for name, target in targets.items()}
    return {
        name: RoundingGrid(bits, group_size if isinstance(group_size, int) else width) for name, width in widths.items()
    }
