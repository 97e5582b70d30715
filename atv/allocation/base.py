"""How much each Linear loses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from atv.model.batch import DenseBatch
from atv.model.targets import Target
from atv.plugins import Plugin


@dataclass(frozen=True)
class DenseStatistics:
    """What is known of the dense model.

    ``block_of`` is the block of each Linear; ``weight`` gives a Linear's weight (out, in) by name, also where blocks
    are offloaded; ``totals`` is, by the name that ``measure`` gave, the sum over all samples of what it gave for each,
    float64 (k,).
    """

    block_of: Mapping[str, int]
    weight: Callable[[str], Tensor]
    totals: Mapping[str, Tensor] = field(default_factory=dict)


class Allocation(Plugin, ABC):
    """Shares a target sparsity out over the Linears and experts. Simple ones write ``allocate`` alone.

    An allocation that ``needs_dense`` measures every calibration batch on the dense model before anything is pruned,
    and is refused where there are experts. One that is ``by_block`` gives all Linears of a block the same sparsity;
    one that ``chooses_blocks`` takes all of some blocks and nothing of the others.
    """

    option = "allocation"

    needs_dense: bool = False
    by_block: bool = False
    chooses_blocks: bool = False

    @abstractmethod
    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        """Name of each Linear -> its sparsity, such that their mean, weighted by size, is ``sparsity``."""

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        """Name -> float (batch, k), a row a sample. Called without gradients.

        Names are the allocation's own: those of Linears, or of blocks.
        """
        raise TypeError(f"{type(self).__name__} needs the dense model but does not measure it")
