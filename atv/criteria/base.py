"""How the weights of a Linear are scored."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PoolStatistics:
    """What a criterion may know of a Linear's inputs: ``norm`` is the L2 norm of each input channel over the pool,
    squared norms averaged over samples, float32 (in,)."""

    norm: Tensor


class Criterion(ABC):
    """Scores weights; the lowest are pruned."""

    @abstractmethod
    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Scores of a weight (out, in), at least float32 and of the same shape."""
