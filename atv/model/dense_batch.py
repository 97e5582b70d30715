"""A calibration batch as what measures the dense model is given it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


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
