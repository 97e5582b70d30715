"""The base class of allocations, and the statistics that they can read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from atv.model.batch import DenseBatch
from atv.model.targets import Target
from atv.plugins import Plugin


@dataclass(frozen=True)
class DenseStatistics:
    """Statistics of the dense model.

    Attributes:
        block_of: index of each Linear's block.
        weight: function from a Linear's name to its weight (out, in), which also works for offloaded blocks.
        totals: sums over all samples of the results of ``measure``, by their names, float64 (k,).
    """

    block_of: Mapping[str, int]
    weight: Callable[[str], Tensor]
    totals: Mapping[str, Tensor] = field(default_factory=dict)


class Allocation(Plugin, ABC):
    """Base class of rules that distribute a target sparsity over Linears and experts. Simple ones define ``allocate``.

    Attributes:
        needs_dense: whether ``measure`` is called for every calibration batch on the dense model before anything is
            pruned; this does not support experts.
        by_block: whether all Linears of a block get the same sparsity.
        chooses_blocks: whether some blocks are pruned entirely and the others not at all.
    """

    option = "allocation"

    needs_dense: bool = False
    by_block: bool = False
    chooses_blocks: bool = False

    @abstractmethod
    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        """Returns the sparsity of each Linear by name; their mean, weighted by size, is ``sparsity``."""

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        """Returns measurements by name, float (batch, k), with one row per sample. Called without gradients.

        The allocation chooses the names, for example those of Linears or blocks.
        """
        raise TypeError(f"{type(self).__name__} sets needs_dense but does not define measure")
