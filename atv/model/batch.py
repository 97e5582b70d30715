"""A batch, brought to a model's dtype and device, and as what measures the dense model is given it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only


@dataclass(frozen=True)
class DenseBatch:
    """A calibration batch for the dense model: its inputs, and which positions (batch, length) are visual and valid.

    ``seed`` is the run's, with the index of the batch's first sample in the whole set; ``answer`` (batch, length) says
    which tokens the assistant says, where the batch brought labels.
    """

    inputs: Mapping[str, Any]
    visual: Tensor
    valid: Tensor
    seed: tuple[int, int]
    answer: Tensor | None = None


def cast_floats(inputs: Any, dtype: torch.dtype, device: torch.device | None = None) -> Any:
    """The same inputs, nested as they are, with floating-point tensors in ``dtype`` and all tensors on ``device``.

    Processors give pixels in float32, whatever the model's dtype; ids stay whole numbers.

    Args:
        device: None leaves tensors where they are.
    """
    return tree_map_only(Tensor, lambda value: value.to(device, dtype if value.is_floating_point() else None), inputs)
