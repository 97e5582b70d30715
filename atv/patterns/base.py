"""Which scores a sparsity pattern keeps."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Pattern(ABC):
    """Turns scores into a mask, True = kept."""

    @property
    @abstractmethod
    def sparsity(self) -> float | None:
        """The fraction that the pattern itself implies, or None where any can be asked for."""

    @abstractmethod
    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """bool (out, in) for scores of the same shape.

        Raises:
            ValueError: for a row that the pattern does not fit.
        """


def lowest(score: Tensor, count: int) -> Tensor:
    """bool, True at the ``count`` lowest of each last-dimension row; among equal scores the lower index goes first.

    A k-th value does what a stable sort would, without sorting; only where it is tied are the ties counted.
    """
    if count == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    threshold = score.kthvalue(count, dim=-1, keepdim=True).values
    reached = score <= threshold
    if bool((reached.sum(-1) == count).all()):
        return reached
    below, tied = score < threshold, score == threshold
    missing = count - below.sum(-1, keepdim=True)
    return below | (tied & (tied.cumsum(-1) <= missing))
