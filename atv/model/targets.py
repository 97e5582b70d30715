"""What can be pruned."""

from typing import Protocol

from torch import Tensor


class Target(Protocol):
    """A weight that can be pruned; an ``nn.Linear`` is one, and so is an expert's slice of a fused parameter."""

    @property
    def weight(self) -> Tensor:
        """(out, in); what is written to its ``data`` in place, the model computes with."""

    @property
    def in_features(self) -> int:
        """Width of the weight's rows."""
