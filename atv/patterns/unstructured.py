"""Patterns with free choice of weights within a row, a Linear, or a block."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from atv.patterns.base import Pattern
from atv.patterns.counting import lowest, pruned_count


class _Free(Pattern):
    """Base class for any sparsity at any place; a sweep decides a block of columns at a time, with exact counts."""

    sparsity = None

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        return self.columns_mask(score, sparsity, 0)

    def sweep_width(self, block: int) -> int:
        return block

    def swap_width(self, columns: int) -> int:
        return columns

    @abstractmethod
    def columns_mask(self, score: Tensor, sparsity: float, done: int) -> Tensor: ...


class Unstructured(_Free):
    """Prunes the floor(n * sparsity) lowest-scored weights of every row of n weights.

    The product is taken exactly in decimal.
    """

    def columns_mask(self, score: Tensor, sparsity: float, done: int) -> Tensor:
        return ~lowest(score, pruned_count(done + score.shape[1], sparsity) - pruned_count(done, sparsity))


class PerLayer(_Free):
    """Prunes the floor(n * sparsity) lowest-scored weights of every Linear of n weights, so a row may become empty."""

    def columns_mask(self, score: Tensor, sparsity: float, done: int) -> Tensor:
        rows, width = score.shape
        count = pruned_count(rows * (done + width), sparsity) - pruned_count(rows * done, sparsity)
        return ~lowest(score.flatten(), count).view_as(score)


class PerBlock(Pattern):
    """Prunes the lowest-scored weights among all Linears of a decoder block, which compete with one another.

    The number of pruned weights is the sum over the Linears of what their sparsities imply. Scores are compared as the
    criterion returns them, without scaling.
    """

    joint = True
    sparsity = None

    def swap_width(self, columns: int) -> int:
        return columns

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        return self.masks({"": score}, {"": sparsity})[""]

    def masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        count = sum(pruned_count(score.numel(), sparsities[name]) for name, score in scores.items())
        kept_mask = ~lowest(torch.cat([score.flatten() for score in scores.values()]), count)
        kept_by_linear = kept_mask.split([score.numel() for score in scores.values()])
        return {
            name: linear_kept.view_as(scores[name]) for name, linear_kept in zip(scores, kept_by_linear, strict=True)
        }
