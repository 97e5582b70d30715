"""How much each Linear loses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn


class Allocation(ABC):
    """Shares a target sparsity out over the Linears."""

    @abstractmethod
    def allocate(self, linears: Mapping[str, nn.Linear], sparsity: float) -> dict[str, float]:
        """Name of each Linear -> its sparsity."""
