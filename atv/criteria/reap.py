"""Pruning of whole experts by their contribution."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class REAP(Criterion):
    """Router-weighted activation of an expert, for patterns that remove whole experts (arXiv 2510.13999).

    The score of an expert is the mean of gate * ||expert(x)||_2 over the pool's tokens that are routed to it, and 0 if
    there are none. It is divided evenly among the weights of the expert's last projection.
    """

    needs_saliency = True

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        saliency = 0.0 if pool.saliency is None else pool.saliency
        return torch.full(weight.shape, saliency / weight.numel(), dtype=torch.float64, device=weight.device)
