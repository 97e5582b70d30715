"""Base classes of the steps after a criterion: a different mask with the same counts, or new values of kept weights."""

from abc import ABC, abstractmethod

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.plugins import Plugin


class Refinement(Plugin, ABC):
    """Base class of rules that swap pruned and kept weights of a row; kept weights retain their values.

    The pattern limits swaps to groups of ``width`` inputs, each of which keeps its number of pruned weights.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered.
        needs_moments: whether ``pool.mean`` and ``pool.variance`` are gathered.
    """

    option = "refine"

    needs_gram: bool = False
    needs_moments: bool = False

    @abstractmethod
    def refine(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, width: int) -> Tensor:
        """Returns the new mask of a dense weight, bool (out, in).

        Args:
            weight: weight before pruning (out, in).
            mask: bool (out, in), True = kept.
            pool: statistics of the inputs.
            width: number of consecutive inputs in a group, counted from the start of the row (the whole row, or M under
                N:M); a weight may only swap places with weights of its own group.
        """


class Reconstruction(Plugin, ABC):
    """Base class of rules that give kept weights new values, which compensate for the pruned weights.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered.
        needs_moments: whether ``pool.mean`` and ``pool.variance`` are gathered.
        needs_bias: whether ``shift`` is called; Linears without a bias then lead to an error.
    """

    option = "reconstruct"

    needs_gram: bool = False
    needs_moments: bool = False
    needs_bias: bool = False

    @abstractmethod
    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the new weight (out, in), in at least float32; its values where the mask prunes are ignored.

        Args:
            weight: weight before pruning (out, in).
            mask: bool (out, in), True = kept.
            pool: statistics of the inputs.
        """

    def shift(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns what to add to the Linear's bias (out,), in at least float32; arguments as for ``reconstruct``."""
        raise NotImplementedError(f"{type(self).__name__} does not change biases")
