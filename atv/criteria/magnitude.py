"""Magnitude pruning."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class Magnitude(Criterion):
    """Magnitude of a weight, ``|W_ij|``; it ignores the calibration pool."""

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().abs()
