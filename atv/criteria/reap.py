"""Pruning of whole experts by what they add."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics


class REAP(Criterion):
    """Router-weighted expert activation (arXiv 2510.13999): the mean of gate * ||expert(x)||_2 over the tokens of the
    pool that the expert is given; 0 for one that is given none.

    It is the score of an expert, shared out evenly over the weights of its last projection. For patterns that take
    experts out whole.
    """

    needs_saliency = True

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        saliency = 0.0 if pool.saliency is None else pool.saliency
        return torch.full(weight.shape, saliency / weight.numel(), dtype=torch.float64, device=weight.device)
