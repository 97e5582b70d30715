"""Inputs brought to where a model is, and to its dtype."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only


def on_device(inputs: Any, device: torch.device | None, dtype: torch.dtype | None = None) -> Any:
    """The same inputs, nested as they are, with tensors on ``device`` and their fractions in ``dtype``.

    Processors give pixels in float32, whatever the model's dtype; ids stay whole numbers.

    Args:
        device: None leaves tensors where they are.
        dtype: None leaves it.
    """
    return tree_map_only(Tensor, lambda value: value.to(device, dtype if value.is_floating_point() else None), inputs)
