"""Rounding to the nearest value."""

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32
from atv.quantization.base import Quantizer
from atv.quantization.whole_numbers import Quantized, RoundingGrid


class Nearest(Quantizer):
    """Rounds each weight to the nearest value of its grid; the pool only serves to report the resulting errors."""

    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        sparse = at_least_float32(weight).masked_fill(~mask, 0)
        return grid.rounded(sparse, grid.scales(sparse, weight.dtype), mask)
