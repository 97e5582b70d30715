"""How much each Linear loses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from atv.targets import Target


class Allocation(ABC):
    """Shares a target sparsity out over the Linears and experts."""

    @abstractmethod
    def allocate(self, linears: Mapping[str, Target], sparsity: float) -> dict[str, float]:
        """Name of each Linear -> its sparsity."""
