"""How the weights of a Linear are scored, and what becomes of those that stay."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from atv.patterns import Pattern
from atv.plugins import ContractError, Plugin


@dataclass(frozen=True)
class PoolStatistics:
    """What a criterion may know of a Linear's inputs over the calibration pool.

    ``norm`` is the L2 norm of each input channel, squared norms averaged over samples, float32 (in,). ``gram`` is
    X^T X divided by the number of pool tokens X (their weights' sum), float64 (in, in); None unless the criterion, or
    what follows it, says ``needs_gram``. ``mean`` and ``variance`` of each channel over the pool's tokens are float64
    (in,); None unless one says ``needs_moments``. ``saliency`` is, of an expert's last projection, the mean over the
    pool's tokens that the expert is given of its gate times the norm of its output; None of every other Linear, and
    unless one says ``needs_saliency``. ``gradient`` is the root mean square over samples of d||block(x)||_2 / dW, of
    all tokens, float32 (out, in); None unless one says ``needs_gradient``.
    """

    norm: Tensor
    gram: Tensor | None = None
    mean: Tensor | None = None
    variance: Tensor | None = None
    saliency: float | None = None
    gradient: Tensor | None = None

    @classmethod
    def mixed(cls, parts: Sequence["PoolStatistics"], weights: Sequence[float]) -> Self:
        """Of a pool that holds several, each by its weight over the sum of all, where norms are means over tokens."""

        def mean(terms: Iterable[Tensor | None]) -> Tensor | None:
            pairs = zip(weights, terms, strict=True)
            given = [weight / sum(weights) * term for weight, term in pairs if term is not None]
            return sum(given[1:], given[0]) if given else None

        norm, average = mean(part.norm.double().square() for part in parts), mean(part.mean for part in parts)
        assert norm is not None
        square = mean(
            None if part.mean is None or part.variance is None else part.variance + part.mean.square() for part in parts
        )
        variance = None if square is None or average is None else (square - average.square()).clamp(min=0)
        return cls(norm.sqrt().float(), mean(part.gram for part in parts), average, variance)

    def gathered(self, name: Literal["gram", "mean", "variance", "gradient"], step: Plugin) -> Tensor:
        """One of these, for a step that needs it.

        Raises:
            ValueError: naming the step's class, where it was not gathered.
        """
        if (found := getattr(self, name)) is None:
            raise ValueError(f"{type(step).__name__} needs the pool's {name}, which was not gathered")
        return found

    def share_lost(self, weight: Tensor, updated: Tensor) -> float:
        """||X (W - W')^T||^2 / ||X W^T||^2 of a weight (out, in) and what became of it; 0 where X W^T is nothing.

        Norms alone tell it as if channels were uncorrelated.
        """
        dtype = torch.promote_types(weight.dtype, torch.float32)
        known = (self.norm.square() if self.gram is None else self.gram).to(weight.device, dtype)

        def size(rows: Tensor) -> float:
            rows = rows.to(dtype)
            return float((rows * (rows * known if self.gram is None else rows @ known)).sum(dtype=torch.float64))

        whole = size(weight)
        return size(weight - updated) / whole if whole > 0 else 0.0

    def divided(self, scale: Tensor) -> Self:
        """Of channels that are divided by ``scale`` (in,); their moments and gradients are left out."""
        gram = None if self.gram is None else self.gram / scale.to(self.gram) / scale.to(self.gram)[:, None]
        return replace(self, norm=self.norm / scale.to(self.norm), gram=gram, mean=None, variance=None, gradient=None)


@dataclass(frozen=True)
class Pruned:
    """One Linear's outcome: its mask (out, in), True = kept, its new weight where kept weights were updated, and what
    its bias (out,) takes besides."""

    mask: Tensor
    weight: Tensor | None = None
    shift: Tensor | None = None

    def applied_to(self, weight: Tensor) -> Tensor:
        """The sparse weight, in the dense one's dtype and on its device."""
        kept = weight if self.weight is None else self.weight.to(weight)
        return kept.masked_fill(~self.mask.to(weight.device), 0)


class Criterion(Plugin, ABC):
    """Scores weights; the lowest are pruned. Most criteria write ``score`` alone.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered.
        needs_moments: whether ``pool.mean`` and ``pool.variance`` are.
        needs_saliency: whether ``pool.saliency`` is, of experts, for patterns that take whole ones out.
        needs_gradient: whether ``pool.gradient`` is, which costs a forward and a backward of each block.
    """

    option = "criterion"

    needs_gram: bool = False
    needs_moments: bool = False
    needs_saliency: bool = False
    needs_gradient: bool = False

    @property
    def updates_weights(self) -> bool:
        """Whether kept weights may change: a criterion that does more than score has a ``prune`` of its own."""
        return type(self).prune is not Criterion.prune

    @abstractmethod
    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Scores of a weight (out, in), at least float32 and of the same shape."""

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        """The mask of a weight (out, in), or the one that was chosen before, and what kept weights become."""
        return Pruned(pattern.checked_mask(self.checked_score(weight, pool), sparsity) if mask is None else mask)

    def checked_score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """What ``score`` gives, checked.

        Raises:
            ContractError: for a score of another shape, in less than float32, or one that holds NaN.
        """
        score, kind = self.score(weight, pool), type(self).__name__
        if score.shape != weight.shape:
            raise ContractError(f"criterion: {kind} gave scores {tuple(score.shape)} for {tuple(weight.shape)}")
        if not score.is_floating_point() or score.dtype.itemsize < 4:
            raise ContractError(f"criterion: {kind} gave scores in {score.dtype}; expected float32 or float64")
        if score.isnan().any():
            raise ContractError(f"criterion: {kind} gave a NaN score")
        return score
