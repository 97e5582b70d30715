"""Pruning with reconstruction: what is kept makes up for what goes."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.normal_equations import at_least_float32, inverse_root, sweep
from atv.patterns import Pattern
from atv.plugins import above_zero, at_least


class SparseGPT(Criterion):
    """W_ij^2 / U_jj^2 with H^-1 = U^T U, H = 2 X^T X / n; errors move to the columns on the right (arXiv 2301.00774).

    Columns go from left to right. A pattern that can decides its mask on the way, from weights already updated: a
    block of columns at a time, or group by group for N:M; other patterns decide from the dense weights. Weights of a
    channel that is never active score 0 and, where they are kept all the same, stay; the authors' code clears them.

    Args:
        damping: share of the mean of H's diagonal that is added to the diagonal.
        block: columns updated at a time.

    Raises:
        ValueError: for an argument out of range.
    """

    needs_gram = True

    def __init__(self, damping: float = 0.01, block: int = 128) -> None:
        above_zero(damping=damping)
        at_least(1, block=block)
        self.damping, self.block = damping, block

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """The scores of the dense weights: W_ij^2 / U_jj^2, 0 where a channel is never active."""
        dense, _, scale = self._prepared(weight, pool)
        return (dense / scale) ** 2

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        updated, root, scale = self._prepared(weight, pool)
        width = pattern.sweep_width(self.block)
        if mask is None and width is None:
            mask = pattern.checked_mask((updated / scale) ** 2, sparsity)
        kept = torch.ones_like(updated, dtype=torch.bool) if mask is None else mask.to(updated.device)
        group = width or 1

        def settled(column: int) -> Tensor:
            if mask is None and column % group == 0:
                part = slice(column, column + group)
                kept[:, part] = pattern.columns_mask((updated[:, part] / scale[part]) ** 2, sparsity, column)
            return updated[:, column].masked_fill(~kept[:, column], 0)

        # Whole groups, so that a mask is chosen from weights that know of all columns before.
        sweep(updated, root, max(self.block // group, 1) * group, settled)
        return Pruned(kept, updated.masked_fill(~kept, 0))

    def _prepared(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """The weight, at least float32, U (upper triangular, U^T U = H^-1), and its diagonal, infinite where a channel
        is never active."""
        hessian = 2 * pool.gathered("gram", self).to(weight.device, torch.float64)
        root, dead = inverse_root(hessian, self.damping, "SparseGPT")
        updated = at_least_float32(weight).clone()
        root = root.to(updated)
        return updated, root, root.diagonal().masked_fill(dead, torch.inf)
