"""Rounding column by column, where what is still to come makes up for what was rounded."""

import torch
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import inverse_cholesky, without_dead_channels
from atv.plugins import above_zero, at_least
from atv.quantization.base import Quantizer
from atv.quantization.whole_numbers import Quantized, RoundingGrid, exact


class GPTQ(Quantizer):
    """GPTQ (arXiv 2210.17323) under a fixed mask: H^-1 = U^T U, columns from left to right, q_j = round(w_j), and
    w_k -= (w_j - q_j) / U_jj U_jk for all k > j.

    A weight that the mask prunes is rounded to 0 whatever was moved into it by then, and that moves on to the right;
    ordinary GPTQ rounds it to the nearest value, and zeros fill. A group's scale is set from its kept weights when its
    first column is reached. A channel that is never active is rounded by itself; the authors' code clears it.

    Args:
        damping: share of the mean of H's diagonal that is added to the diagonal.
        block: columns updated at a time.

    Raises:
        ValueError: for an argument out of range.
    """

    def __init__(self, damping: float = 0.01, block: int = 128) -> None:
        above_zero(damping=damping)
        at_least(1, block=block)
        self.damping, self.block = damping, block

    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        kept, columns, updated = mask, weight.shape[1], exact(weight).clone()
        root = self._root(pool).to(updated)
        made: list[Quantized] = []
        # Whole groups, so that a scale is set from weights that know of all columns before.
        step = self.block if grid.width == columns else max(self.block // grid.width, 1) * grid.width
        column_grid, scale = RoundingGrid(grid.bits, 1), updated[:, :1]
        for start in range(0, columns, step):
            end = min(start + step, columns)
            errors = torch.zeros_like(updated[:, start:end])
            for column in range(start, end):
                if column % grid.width == 0:
                    group = slice(column, column + grid.width)
                    scale = grid.scales(updated[:, group].masked_fill(~kept[:, group], 0), weight.dtype)
                now = slice(column, column + 1)
                one = column_grid.rounded(updated[:, now], scale, kept[:, now])
                made.append(one)
                error = (updated[:, now] - one.weight.to(updated)) / root[column, column]
                errors[:, column - start] = error[:, 0]
                updated[:, column:end] -= error * root[column, column:end]
            updated[:, end:] -= errors @ root[start:end, end:]
        scales = torch.cat([one.scale for one in made[:: grid.width]], 1)
        return Quantized(torch.cat([one.whole for one in made], 1), scales)

    def _root(self, pool: PoolStatistics) -> Tensor:
        hessian, _ = without_dead_channels(pool.gathered("gram", self))
        return inverse_cholesky(hessian, self.damping, type(self).__name__)
