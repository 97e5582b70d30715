"""The same for all."""

from collections.abc import Mapping

from torch import nn

from atv.allocation.base import Allocation


class Uniform(Allocation):
    """Every Linear loses the same fraction."""

    def allocate(self, linears: Mapping[str, nn.Linear], sparsity: float) -> dict[str, float]:
        return dict.fromkeys(linears, sparsity)
