"""Pruning and regrowing by the expected error of a row."""

import torch
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.plugins import at_least
from atv.refinement.base import Refinement

# The published threshold applies to errors summed over calibration sequences of this length.
_SEQUENCE = 2048
# The published 50 cycles are for rows of 4,096 inputs; in a row of 200, they would move half the pruned weights.
_CYCLES, _INPUTS = 50, 4096
# Number of weights of which float64 copies are held at a time.
_ENTRIES = 1 << 23


class DSnoT(Refinement):
    """Prunes and regrows weights until a row's expected error is small: dynamic sparse no training (arXiv 2310.08915).

    A row's error is e = sum over its pruned weights of w_j E[x_j]. In each cycle, the pruned weight with the largest
    w_j E[x_j] / Var[x_j]^power in the direction of e's sign is put back. In exchange, the kept weight with the smallest
    ``|w_j| ||x_j||`` among those whose w_j E[x_j] has the opposite sign is pruned (under N:M, the smallest of the same
    group, provided that e keeps its sign). A row stops when ``|e|`` is at most the threshold, or no such pair is left.
    No weight moves twice. The authors' code leaves out the FFN of some models; here every Linear takes part.

    Args:
        cycles: maximum number of cycles. Default: 50 for a row of 4,096 inputs, as published, and in proportion for
            rows of other lengths.
        threshold: largest acceptable error, as published: summed over a sequence of 2,048 tokens.
        power: exponent of the variance.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_moments = True
    # Version 1 took 50 cycles for rows of any length.
    version = 2

    def __init__(self, cycles: int | None = None, threshold: float = 0.1, power: float = 1.0) -> None:
        at_least(0, cycles=cycles, threshold=threshold, power=power)
        self.cycles, self.threshold, self.power = cycles, threshold, power

    def refine(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, width: int) -> Tensor:
        mean, variance = (
            values.to(weight.device) for values in (pool.gathered("mean", self), pool.gathered("variance", self))
        )
        rows = max(_ENTRIES // weight.shape[1], 1)
        chunks = zip(weight.split(rows), mask.to(weight.device).split(rows), strict=True)
        return torch.cat(
            [
                self._refine_rows(values.double(), kept_mask.clone(), mean, variance, width)
                for values, kept_mask in chunks
            ]
        )

    def _refine_rows(self, dense: Tensor, kept_mask: Tensor, mean: Tensor, variance: Tensor, width: int) -> Tensor:
        """Returns the new masks of some rows."""
        columns, contribution = dense.shape[1], dense * mean
        # A channel that never varies comes first; one that is always 0 contributes nothing.
        gain = (contribution / variance**self.power).nan_to_num()
        importance = dense.abs() * (variance + mean.square()).sqrt()
        error = (contribution * ~kept_mask).sum(1)
        initial_sign, moved, is_active = (
            error.sign(),
            torch.zeros_like(kept_mask),
            torch.ones_like(error, dtype=torch.bool),
        )
        group = torch.arange(columns, device=kept_mask.device) // width
        cycles = max(round(_CYCLES * columns / _INPUTS), 1) if self.cycles is None else self.cycles
        for _ in range(cycles):
            sign = error.sign()[:, None]
            growth_score = torch.where(kept_mask | moved, -torch.inf, gain * sign)
            best_growth, u = growth_score.max(1)
            prunable = kept_mask & ~moved & (contribution * sign < 0 if width == columns else group == group[u, None])
            least_importance, p = torch.where(prunable, importance, torch.inf).min(1)
            change = (contribution.gather(1, p[:, None]) - contribution.gather(1, u[:, None]))[:, 0]
            is_active &= (error.abs() * _SEQUENCE > self.threshold) & (best_growth > 0) & least_importance.isfinite()
            if width < columns:
                is_active &= (error + change).sign() == initial_sign
            row = is_active.nonzero()[:, 0]
            if not len(row):
                break
            kept_mask[row, u[row]], kept_mask[row, p[row]] = True, False
            moved[row, u[row]] = moved[row, p[row]] = True
            error = torch.where(is_active, error + change, error)
        return kept_mask
