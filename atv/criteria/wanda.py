"""Pruning by weights and activations."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class Wanda(Criterion):
    """``|W_ij| * ||X_j||_2`` over the pool's tokens (arXiv 2306.11695)."""

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().abs() * pool.norm.to(weight.device)
