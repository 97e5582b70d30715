"""The same for all."""

from collections.abc import Mapping

from atv.allocation.base import Allocation, DenseStatistics
from atv.model.targets import Target


class Uniform(Allocation):
    """Every Linear loses the same fraction."""

    by_block = True

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        return dict.fromkeys(linears, sparsity)
