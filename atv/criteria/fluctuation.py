"""Pruning by the variance of input channels."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class Fluctuation(Criterion):
    """Squared weight times variance of its input over the pool's tokens, ``W_ij^2 * Var(X_j)``.

    Summed over a column, it is FLAP's score (arXiv 2312.11983). A channel with the same value for every token could be
    replaced by a constant, whatever its norm.
    """

    needs_moments = True

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().square() * pool.gathered("variance", self).to(weight.device).float()
