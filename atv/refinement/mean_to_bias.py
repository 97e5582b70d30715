"""What pruned weights gave on average, moved into the bias."""

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.refinement.base import Reconstruction


class MeanToBias(Reconstruction):
    """FLAP's compensation (arXiv 2312.11983): b_i += sum over the pruned j of W_ij * mean(X_j); kept weights stay.

    The outputs' means over the pool are then what they were. Of Linears that have a bias alone.
    """

    needs_moments = True
    needs_bias = True

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float()

    def shift(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        mean = pool.gathered("mean", self)
        return weight.double().masked_fill(mask.to(weight.device), 0) @ mean.to(weight.device)
