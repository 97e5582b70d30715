"""Pruning by relative importance and activations."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics
from atv.plugins import at_least


class RIA(Criterion):
    """Relative importance of a weight in its row and column times a power of the input norm (Zhang et al., ICLR 2024).

    The score is ``(|W_ij| / sum_k |W_ik| + |W_ij| / sum_k |W_kj|) * ||X_j||_2^power``. The paper's permutation of
    channels is not included.

    Args:
        power: exponent of the input norm; 0 uses relative importance alone.

    Raises:
        ValueError: if ``power`` is negative.
    """

    def __init__(self, power: float = 0.5) -> None:
        at_least(0, power=power)
        self.power = power

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        magnitude = weight.float().abs()
        # A row or column without norm has only zero weights, whose importance is 0.
        tiny = torch.finfo(magnitude.dtype).tiny
        relative = sum(magnitude / magnitude.sum(dim, keepdim=True).clamp(min=tiny) for dim in (0, 1))
        return relative * pool.norm.to(weight.device) ** self.power
