"""Batches in a model's dtype and on its device, and the form in which measurements of the dense model get them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only


@dataclass(frozen=True)
class DenseBatch:
    """A calibration batch for the dense model: its inputs, and which positions (batch, length) are visual and valid.

    ``seed`` holds the run's seed and the index of the batch's first sample in the whole set. ``answer`` (batch, length)
    marks the assistant's tokens if the batch has labels.
    """

    inputs: Mapping[str, Any]
    visual: Tensor
    valid: Tensor
    seed: tuple[int, int]
    answer: Tensor | None = None


def cast_floats(inputs: Any, dtype: torch.dtype, device: torch.device | None = None) -> Any:
    """Returns the inputs, nested as before, with floating-point tensors in ``dtype`` and all tensors on ``device``.

    Processors return pixels in float32, whatever the model's dtype; ids stay integers.

    Args:
        device: None leaves tensors where they are.
    """
    return tree_map_only(Tensor, lambda value: value.to(device, dtype if value.is_floating_point() else None), inputs)
