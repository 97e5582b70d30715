"""Rounding to the nearest value after scaling channels by their activity."""

from collections.abc import Mapping

import torch
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32
from atv.plugins import at_least
from atv.quantization.base import Quantizer, squared_output_error
from atv.quantization.whole_numbers import Quantized, RoundingGrid, storable


class AWQ(Quantizer):
    """Scales active channels up before rounding and what produces them down, then clips scales (AWQ, arXiv 2306.00978).

    Channel j is multiplied by s_j = x_j^a / sqrt(max s min s), and the module that produces it is divided by s_j. Here
    x_j is the root mean square of the channel over the pool, which is already available; the authors take the mean of
    absolute values. The exponent a comes from a grid in [0, 1): it is the one with the smallest error of the pool's
    outputs, tr(D G D^T) with D = Q(W s) / s - W, over all weights that read the channels. Then each group's scale is
    lowered, at most to a half, by the share with the smallest error within the group. The authors exclude queries and
    keys from this; here all Linears take part. Scaling by s leaves zeros unchanged.

    Args:
        exponents: number of values of a to try.
        clips: number of shares to try; 1 disables clipping.

    Raises:
        ValueError: if an argument is out of range.
    """

    scales_channels = True

    def __init__(self, exponents: int = 20, clips: int = 10) -> None:
        at_least(1, exponents=exponents, clips=clips)
        self.exponents, self.clips = exponents, clips

    def channel_scale(
        self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], pool: PoolStatistics, grid: RoundingGrid
    ) -> Tensor:
        gram = pool.gathered("gram", self)
        lowest_loss, best_scale = float("inf"), torch.ones_like(pool.norm)
        for step in range(self.exponents):
            scale = (pool.norm / pool.norm.max().clamp(min=1e-30)).clamp(min=1e-4) ** (step / self.exponents)
            scale = scale / (scale.max() * scale.min()).sqrt()
            loss = sum(self._loss(weight, masks[name], gram, scale, grid) for name, weight in weights.items())
            if loss < lowest_loss:
                lowest_loss, best_scale = loss, scale
        return best_scale

    def _loss(self, weight: Tensor, mask: Tensor, gram: Tensor, scale: Tensor, grid: RoundingGrid) -> float:
        weight_scale = scale.to(weight.device)
        dense = at_least_float32(weight).masked_fill(~mask, 0)
        scaled = dense * weight_scale
        rounded_weight = grid.rounded(scaled, grid.scales(scaled, weight.dtype), mask).weight
        return squared_output_error(at_least_float32(rounded_weight) / weight_scale - dense, gram)

    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        dense = at_least_float32(weight).masked_fill(~mask, 0)
        gram = pool.gathered("gram", self).to(dense)
        gram_of_groups = gram.view(len(gram) // grid.width, grid.width, -1, grid.width).diagonal(dim1=0, dim2=2)
        full_scale = grid.scales(dense, dense.dtype)
        best_scale = storable(full_scale, weight.dtype)
        lowest_loss = torch.full_like(full_scale, torch.inf)
        for step in range(self.clips):
            scale = storable(full_scale * (1 - step / (2 * self.clips)), weight.dtype)
            difference = grid.grouped(at_least_float32(grid.rounded(dense, scale, mask).weight) - dense)
            loss = torch.einsum("ogi,ijg,ogj->og", difference, gram_of_groups, difference)
            best_scale = torch.where(loss < lowest_loss, scale, best_scale)
            lowest_loss = torch.minimum(loss, lowest_loss)
        return grid.rounded(dense, best_scale, mask)
