"""Exact number of weights to prune at a sparsity, and the choice of the lowest scores in each row."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor


def pruned_count(count: int, sparsity: float) -> int:
    """Returns how many of ``count`` are pruned: floor(count * sparsity), with the product taken exactly in decimal."""
    return int(count * exact_decimal(sparsity))


def exact_decimal(value: float) -> Fraction:
    """Returns exactly the decimal number as written: 0.29 becomes 29 / 100, which no binary float equals."""
    return Fraction(str(value))


def lowest(score: Tensor, count: int) -> Tensor:
    """Returns a bool tensor, True at the ``count`` lowest scores of each row of the last dimension.

    In a tie, the lower index is chosen first. The k-th value gives the same result as a stable sort, without sorting;
    ties are counted only if there are any at that value.
    """
    if count == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    threshold = _kth_lowest(score, count)
    reached = score <= threshold
    if bool((reached.sum(-1) == count).all()):
        return reached
    below, tied = score < threshold, score == threshold
    missing = count - below.sum(-1, keepdim=True)
    return below | (tied & (tied.cumsum(-1) <= missing))


def _kth_lowest(score: Tensor, count: int) -> Tensor:
    """Returns the ``count``-th lowest score of each row of the last dimension, (..., 1); NaN counts as highest."""
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        # Same value as torch in a sixth of the time, which matters to methods that choose a mask in many steps.
        return torch.from_numpy(np.partition(score.detach().numpy(), count - 1)[..., count - 1 : count])
    return score.kthvalue(count, dim=-1, keepdim=True).values
