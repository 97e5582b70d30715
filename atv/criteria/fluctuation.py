"""Pruning by how much an input channel varies."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class Fluctuation(Criterion):
    """``W_ij^2 * Var(X_j)`` over the pool's tokens; summed over a column it is FLAP's score (arXiv 2312.11983).

    A channel that is the same for every token could be replaced by a constant, whatever its norm.
    """

    needs_moments = True

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().square() * pool.gathered("variance", self).to(weight.device).float()
