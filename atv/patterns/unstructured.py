"""Free choice within a row."""

from fractions import Fraction

from torch import Tensor

from atv.patterns.base import Pattern, lowest


class Unstructured(Pattern):
    """Every row of n weights loses its floor(n * sparsity) lowest, the product taken exactly in decimal."""

    @property
    def sparsity(self) -> None:
        return None

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        return ~lowest(score, int(score.shape[-1] * Fraction(str(sparsity))))
