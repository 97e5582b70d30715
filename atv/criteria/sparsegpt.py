"""Pruning with reconstruction: kept weights compensate for pruned ones."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.normal_equations import at_least_float32, inverse_root, sweep
from atv.patterns import Pattern
from atv.plugins import above_zero, at_least


class SparseGPT(Criterion):
    """SparseGPT: score W_ij^2 / U_jj^2; kept weights further right compensate for pruned ones (arXiv 2301.00774).

    Here H = 2 X^T X / n and H^-1 = U^T U. Columns are pruned from left to right. If the pattern allows, the mask is
    chosen during the sweep from weights that are already updated: in blocks of columns or, for N:M, group by group.
    Other patterns choose it from the dense weights. Weights of a channel that is never active score 0; if they are
    kept all the same, they stay unchanged, whereas the authors' code clears them.

    Args:
        damping: share of the mean of H's diagonal that is added to the diagonal.
        block: number of columns updated at a time.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_gram = True

    def __init__(self, damping: float = 0.01, block: int = 128) -> None:
        above_zero(damping=damping)
        at_least(1, block=block)
        self.damping, self.block = damping, block

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the scores of the dense weights, W_ij^2 / U_jj^2; 0 if the channel is never active."""
        dense, _, scale = self._weight_and_root(weight, pool)
        return (dense / scale) ** 2

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        updated, root, scale = self._weight_and_root(weight, pool)
        width = pattern.sweep_width(self.block)
        if mask is None and width is None:
            mask = pattern.checked_mask((updated / scale) ** 2, sparsity)
        kept_mask = torch.ones_like(updated, dtype=torch.bool) if mask is None else mask.to(updated.device)
        group = width or 1

        def settled(column: int) -> Tensor:
            if mask is None and column % group == 0:
                columns = slice(column, column + group)
                kept_mask[:, columns] = pattern.columns_mask(
                    (updated[:, columns] / scale[columns]) ** 2, sparsity, column
                )
            return updated[:, column].masked_fill(~kept_mask[:, column], 0)

        # Whole groups, so that a mask is chosen from weights with the updates of all previous columns.
        sweep(updated, root, max(self.block // group, 1) * group, settled)
        return Pruned(kept_mask, updated.masked_fill(~kept_mask, 0))

    def _weight_and_root(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the weight in at least float32, U (upper triangular, U^T U = H^-1), and the diagonal of U, which is
        infinite for channels that are never active."""
        hessian = 2 * pool.gathered("gram", self).to(weight.device, torch.float64)
        root, dead = inverse_root(hessian, self.damping, "SparseGPT")
        updated = at_least_float32(weight).clone()
        root = root.to(updated)
        return updated, root, root.diagonal().masked_fill(dead, torch.inf)
