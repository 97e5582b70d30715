"""Magnitude pruning."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class Magnitude(Criterion):
    """``|W_ij|``; the calibration pool plays no part."""

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().abs()
