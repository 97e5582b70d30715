"""Steps that follow a criterion: another mask of the same counts, or other values of the kept weights."""

from abc import ABC, abstractmethod

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.plugins import Plugin


class Refinement(Plugin, ABC):
    """Lets pruned and kept weights of a row change places; kept weights stay as they are.

    ``width`` of a pattern says how far a weight may move: a row of as many inputs keeps its number of pruned weights.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered.
        needs_moments: whether ``pool.mean`` and ``pool.variance`` are.
    """

    option = "refine"

    needs_gram: bool = False
    needs_moments: bool = False

    @abstractmethod
    def refine(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, width: int) -> Tensor:
        """The new mask of a dense weight, bool (out, in).

        Args:
            weight: (out, in), as it was before pruning.
            mask: bool (out, in), True = kept.
            pool: what is known of the inputs.
            width: a weight may change places with those of its own group alone: its row's ``width`` consecutive inputs,
                counted from the first (the whole row, or M under N:M).
        """


class Reconstruction(Plugin, ABC):
    """Gives the weights that a mask keeps new values, so that they make up for those that it prunes.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered.
        needs_moments: whether ``pool.mean`` and ``pool.variance`` are.
        needs_bias: whether ``shift`` is asked; Linears without a bias are then refused.
    """

    option = "reconstruct"

    needs_gram: bool = False
    needs_moments: bool = False
    needs_bias: bool = False

    @abstractmethod
    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """The new weight (out, in), at least float32; what it has where the mask prunes plays no part.

        Args:
            weight: (out, in), as it was before pruning.
            mask: bool (out, in), True = kept.
            pool: what is known of the inputs.
        """

    def shift(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """What the Linear's bias (out,) takes besides, at least float32; arguments as for ``reconstruct``."""
        raise NotImplementedError(f"{type(self).__name__} moves no bias")
