"""Pruning with reconstruction: what is kept makes up for what goes."""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
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
        for start, end in self._blocks(updated.shape[1], group):
            errors = torch.zeros_like(updated[:, start:end])
            for column in range(start, end):
                if mask is None and column % group == 0:
                    part = slice(column, min(column + group, end))
                    score = (updated[:, part] / scale[part]) ** 2
                    kept[:, part] = pattern.columns_mask(score, sparsity, column)
                lost = updated[:, column].masked_fill(kept[:, column], 0)
                errors[:, column - start] = error = lost / root[column, column]
                updated[:, column:end] -= torch.outer(error, root[column, column:end])
            updated[:, end:] -= errors @ root[start:end, end:]
        return Pruned(kept, updated.masked_fill(~kept, 0))

    def _blocks(self, columns: int, width: int) -> Iterator[tuple[int, int]]:
        """Starts and ends of blocks that hold whole groups of ``width`` columns."""
        step = max(self.block // width, 1) * width
        return ((start, min(start + step, columns)) for start in range(0, columns, step))

    def _prepared(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """The weight, at least float32, U (upper triangular, U^T U = H^-1), and its diagonal, infinite where a channel
        is never active."""
        hessian, dead = live(2 * pool.gathered("gram", self).to(weight.device, torch.float64))
        dtype = torch.promote_types(weight.dtype, torch.float32)
        root = inverse_root(hessian, self.damping).to(dtype)
        return weight.to(dtype, copy=True), root, root.diagonal().masked_fill(dead, torch.inf)


def live(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """H with the mean of the diagonal where a channel is never active, so that damping is the same share whatever the
    inputs' scale (1 where none is active), and which channels these are: bool (in,)."""
    hessian = hessian.clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = diagonal[~dead].mean() if bool((~dead).any()) else 1.0
    return hessian, dead


def inverse_root(hessian: Tensor, damping: float, asked_by: str = "SparseGPT", tries: int = 10) -> Tensor:
    """U, upper triangular, with U^T U = (H + damping * mean(diag H) * I)^-1: float64 (n, n).

    A damped H that is not positive definite is tried again with ten times the damping, and a warning says so.

    Raises:
        ValueError: when no damping helps, as with values that are not finite.
    """
    # H = R R^T with R upper triangular is the Cholesky factorisation of H turned by 180 degrees; then U = R^-1.
    turned, mean = hessian.flip(0, 1), hessian.diagonal().mean()
    for power in range(tries):
        damped = turned.clone()
        damped.diagonal().add_(damping * 10**power * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed and lower.isfinite().all():
            identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
            return torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
        raised = f"damping raised to {damping * 10 ** (power + 1):g}"
        warnings.warn(f"{asked_by}: X^T X is not positive definite, {raised}", stacklevel=2)
    raise ValueError(f"{asked_by} found no damping up to {damping * 10**tries:g} that lets X^T X be inverted")
