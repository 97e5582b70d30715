"""Rounding to nearest."""

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32
from atv.quantization.base import Quantizer
from atv.quantization.whole_numbers import Quantized, RoundingGrid


class Nearest(Quantizer):
    """Each weight by itself; the pool plays no part in what is chosen, only in the errors that are told."""

    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        sparse = at_least_float32(weight).masked_fill(~mask, 0)
        return grid.rounded(sparse, grid.scales(sparse, weight.dtype), mask)
