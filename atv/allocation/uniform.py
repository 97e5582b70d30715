"""The same for all."""

from collections.abc import Mapping

from atv.allocation.base import Allocation
from atv.targets import Target


class Uniform(Allocation):
    """Every Linear loses the same fraction."""

    def allocate(self, linears: Mapping[str, Target], sparsity: float) -> dict[str, float]:
        return dict.fromkeys(linears, sparsity)
