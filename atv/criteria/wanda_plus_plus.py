"""Pruning by weights, activations and the gradients of a block's output."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics
from atv.plugins import at_least


class WandaPlusPlus(Criterion):
    """Wanda's score plus a block's gradient R, ``|W_ij| * (||X_j||_2 + scale * R_ij)`` (Wanda++, arXiv 2503.04992).

    The regional gradient R is the root mean square over samples of d||block(x)||_2 / dW. It is computed on the dense
    block from all tokens of a sample, whichever of them are in the pool of X. If a selection rule averages norms over
    tokens, R is divided by the root of the mean number of tokens per sample, as those norms are. The paper's regional
    optimizer is a separate step, ``BlockReconstruction``.

    Args:
        scale: weight of gradients relative to norms.

    Raises:
        ValueError: if ``scale`` is negative.
    """

    needs_gradient = True

    def __init__(self, scale: float = 100.0) -> None:
        at_least(0, scale=scale)
        self.scale = scale

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        gradient = pool.gathered("gradient", self).to(weight.device)
        return weight.float().abs() * (pool.norm.to(weight.device) + self.scale * gradient)
