"""Relative importance and activations."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics
from atv.plugins import at_least


class RIA(Criterion):
    """``(|W_ij| / sum_k |W_ik| + |W_ij| / sum_k |W_kj|) * ||X_j||_2^power`` (Zhang et al., ICLR 2024).

    Args:
        power: of the activations; 0 is relative importance alone. The paper's permutation of channels is no part.

    Raises:
        ValueError: for a negative power.
    """

    def __init__(self, power: float = 0.5) -> None:
        at_least(0, power=power)
        self.power = power

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        size = weight.float().abs()
        # An empty row or column has only zero weights, whose importance is 0.
        tiny = torch.finfo(size.dtype).tiny
        relative = sum(size / size.sum(dim, keepdim=True).clamp(min=tiny) for dim in (0, 1))
        return relative * pool.norm.to(weight.device) ** self.power
