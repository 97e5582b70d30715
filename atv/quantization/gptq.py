"""Rounding column by column, where the remaining columns compensate for the rounding."""

import torch
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32, inverse_root, sweep
from atv.plugins import above_zero, at_least
from atv.quantization.base import Quantizer
from atv.quantization.whole_numbers import Quantized, RoundingGrid


class GPTQ(Quantizer):
    """Rounds columns from left to right, with compensation by later ones: GPTQ under a fixed mask (arXiv 2210.17323).

    With H^-1 = U^T U, column j becomes q_j = round(w_j), and w_k -= (w_j - q_j) / U_jj U_jk for all k > j. A pruned
    weight is rounded to 0 whatever earlier columns have added to it, and this error also moves to the right. Ordinary
    GPTQ rounds it to the nearest value, which fills zeros. A group's scale is set from its kept weights when the sweep
    reaches its first column. A channel that is never active is rounded independently; the authors' code clears it.

    Args:
        damping: share of the mean of H's diagonal that is added to the diagonal.
        block: number of columns updated at a time.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, damping: float = 0.01, block: int = 128) -> None:
        above_zero(damping=damping)
        at_least(1, block=block)
        self.damping, self.block = damping, block

    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        columns, updated = weight.shape[1], at_least_float32(weight).clone()
        root, _ = inverse_root(pool.gathered("gram", self), self.damping, type(self).__name__)
        # Whole groups, so that a scale is set from weights with the updates of all previous columns.
        step = self.block if grid.width == columns else max(self.block // grid.width, 1) * grid.width
        column_grid, integers, scales = RoundingGrid(grid.bits, 1), [], []

        def rounded(column: int) -> Tensor:
            if column % grid.width == 0:
                group = slice(column, column + grid.width)
                scales.append(grid.scales(updated[:, group].masked_fill(~mask[:, group], 0), weight.dtype))
            current = slice(column, column + 1)
            rounded_column = column_grid.rounded(updated[:, current], scales[-1], mask[:, current])
            integers.append(rounded_column.whole)
            return rounded_column.weight[:, 0].to(updated)

        sweep(updated, root.to(updated), step, rounded)
        return Quantized(torch.cat(integers, 1), torch.cat(scales, 1))
