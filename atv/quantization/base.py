"""How weights are rounded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.plugins import Plugin
from atv.quantization.whole_numbers import Quantized, RoundingGrid


class Quantizer(Plugin, ABC):
    """Rounds a weight to its grid; what the mask prunes becomes 0.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered; without it the record tells no errors of outputs.
        scales_channels: whether ``channel_scale`` is asked where something in the model can take the scales.
    """

    option = "method"

    needs_gram: bool = True
    scales_channels: bool = False

    @abstractmethod
    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        """Whole numbers and scales for a weight (out, in), zeros where the mask (out, in; True = kept) prunes.

        Whole numbers are int8 (out, in) from ``grid.lowest`` to ``grid.highest``; scales (out, in / ``grid.width``),
        one for each group of a row, are finite, above 0 and in the weight's dtype. ``grid.scales`` and
        ``grid.rounded`` give such ones.
        """

    def channel_scale(
        self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], pool: PoolStatistics, grid: RoundingGrid
    ) -> Tensor:
        """What to multiply the inputs' channels of these weights by before they are rounded, positive (in,).

        What feeds them is divided by it, so that the model computes the same.
        """
        raise NotImplementedError(f"{type(self).__name__} scales no channels")


def lost(difference: Tensor, gram: Tensor) -> float:
    """What a change of a weight (out, in) does to its outputs: squares summed over outputs, mean over the pool."""
    exact = difference.double()
    return float(((exact @ gram.to(exact.device)) * exact).sum())
