"""The interface of weights that can be pruned."""

from typing import Protocol

from torch import Tensor


class Target(Protocol):
    """A weight that can be pruned, such as an ``nn.Linear`` or an expert's slice of a fused parameter."""

    @property
    def weight(self) -> Tensor:
        """(out, in); the model computes with values that are written to its ``data`` in place."""

    @property
    def in_features(self) -> int:
        """Width of the weight's rows."""
