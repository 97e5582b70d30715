"""The same sparsity for all Linears."""

from collections.abc import Mapping

from atv.allocation.base import Allocation, DenseStatistics
from atv.model.targets import Target


class Uniform(Allocation):
    """The same sparsity in every Linear."""

    by_block = True

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        return dict.fromkeys(linears, sparsity)
