"""Pruning by weights, activations and gradients of a block."""

from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics
from atv.plugins import at_least


class WandaPlusPlus(Criterion):
    """``|W_ij| * (||X_j||_2 + scale * R_ij)``, R the regional gradient (Wanda++, arXiv 2503.04992).

    R is the root mean square over samples of d||block(x)||_2 / dW, of the dense block and all tokens of a sample,
    whichever of them are in the pool that X comes from. Under a rule whose norms are means over tokens, R is divided by
    the root of the mean number of tokens a sample, as the norms then are. The paper's optimizer is a step of its own:
    ``BlockReconstruction``.

    Args:
        scale: how much gradients count beside norms.

    Raises:
        ValueError: for a negative scale.
    """

    needs_gradient = True

    def __init__(self, scale: float = 100.0) -> None:
        at_least(0, scale=scale)
        self.scale = scale

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        gradient = pool.gathered("gradient", self).to(weight.device)
        return weight.float().abs() * (pool.norm.to(weight.device) + self.scale * gradient)
