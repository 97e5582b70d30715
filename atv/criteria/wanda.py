"""Pruning by weights and activations."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class Wanda(Criterion):
    """Magnitude of a weight times norm of its input over the pool, ``|W_ij| * ||X_j||_2`` (arXiv 2306.11695)."""

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().abs() * pool.norm.to(weight.device)
