"""How many go at a sparsity, counted exactly, and which: the lowest of each row."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor


def pruned_count(count: int, sparsity: float) -> int:
    """How many of ``count`` go: floor(count * sparsity), the product taken exactly in decimal."""
    return int(count * exact_decimal(sparsity))


def exact_decimal(value: float) -> Fraction:
    """Exactly what a number is written as: 0.29 is 29 / 100, which no binary fraction is."""
    return Fraction(str(value))


def lowest(score: Tensor, count: int) -> Tensor:
    """bool, True at the ``count`` lowest of each last-dimension row; among equal scores the lower index goes first.

    A k-th value does what a stable sort would, without sorting; only where it is tied are the ties counted.
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
    """The ``count``-th lowest of each last-dimension row, (..., 1); NaN counts as highest."""
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        # The same value as torch's, in a sixth of its time: methods that choose a mask in many steps live on it.
        return torch.from_numpy(np.partition(score.detach().numpy(), count - 1)[..., count - 1 : count])
    return score.kthvalue(count, dim=-1, keepdim=True).values
