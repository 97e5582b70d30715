"""Compensation that moves the mean contribution of pruned weights into the bias."""

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.refinement.base import Reconstruction


class MeanToBias(Reconstruction):
    """Adds the mean contribution of pruned weights to the bias; kept weights stay (FLAP, arXiv 2312.11983).

    b_i += sum over the pruned j of W_ij * mean(X_j), so the mean of each output over the pool is preserved. Only for
    Linears with a bias.
    """

    needs_moments = True
    needs_bias = True

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float()

    def shift(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        mean = pool.gathered("mean", self)
        return weight.double().masked_fill(mask.to(weight.device), 0) @ mean.to(weight.device)
