"""The base class of quantization methods."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.plugins import Plugin
from atv.quantization.whole_numbers import Quantized, RoundingGrid


class Quantizer(Plugin, ABC):
    """Base class of methods that round a weight to its grid; pruned weights become 0.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered; without it, the record contains no output errors.
        scales_channels: whether ``channel_scale`` is called for channels whose scales a module of the model can absorb.
    """

    option = "method"

    needs_gram: bool = True
    scales_channels: bool = False

    @abstractmethod
    def quantize(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, grid: RoundingGrid) -> Quantized:
        """Returns integers and scales for a weight (out, in), with zeros where the mask (out, in; True = kept) prunes.

        Integers are int8 (out, in), from ``grid.lowest`` to ``grid.highest``. Scales (out, in / ``grid.width``), one
        per group of a row, are finite, above 0 and in the weight's dtype. ``grid.scales`` and ``grid.rounded`` return
        values of this form.
        """

    def channel_scale(
        self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], pool: PoolStatistics, grid: RoundingGrid
    ) -> Tensor:
        """Returns positive factors (in,) for the input channels of these weights, applied before rounding.

        The module that produces the channels is divided by them, so the model computes the same function.
        """
        raise NotImplementedError(f"{type(self).__name__} does not scale channels")


def squared_output_error(difference: Tensor, gram: Tensor) -> float:
    """Returns the squared output error of a change of a weight (out, in): summed over outputs, mean over the pool."""
    exact_difference = difference.double()
    return float(((exact_difference @ gram.to(exact_difference.device)) * exact_difference).sum())
