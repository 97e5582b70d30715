"""The base class of criteria, the statistics that they can read, and the outcome of pruning a Linear."""

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
    """Statistics of a Linear's inputs over the calibration pool.

    Fields other than ``norm`` are None unless the criterion or a later step sets the attribute in parentheses.

    Attributes:
        norm: L2 norm of each input channel, with squared norms averaged over samples, float32 (in,).
        gram: X^T X divided by the number of pool tokens X (the sum of their weights), float64 (in, in)
            (``needs_gram``).
        mean: mean of each channel over the pool's tokens, float64 (in,) (``needs_moments``).
        variance: variance of each channel over the pool's tokens, float64 (in,) (``needs_moments``).
        saliency: for an expert's last projection, the mean of gate times norm of the expert's output, over the pool's
            tokens that are routed to it; None for every other Linear (``needs_saliency``).
        gradient: root mean square over samples of d||block(x)||_2 / dW, computed from all tokens, float32 (out, in)
            (``needs_gradient``).
    """

    norm: Tensor
    gram: Tensor | None = None
    mean: Tensor | None = None
    variance: Tensor | None = None
    saliency: float | None = None
    gradient: Tensor | None = None

    @classmethod
    def mixed(cls, parts: Sequence["PoolStatistics"], weights: Sequence[float]) -> Self:
        """Returns the statistics of a weighted mixture of pools whose norms are means over tokens.

        Weights are divided by their sum.
        """

        def mean(terms: Iterable[Tensor | None]) -> Tensor | None:
            weights_and_terms = zip(weights, terms, strict=True)
            weighted_terms = [weight / sum(weights) * term for weight, term in weights_and_terms if term is not None]
            return sum(weighted_terms[1:], weighted_terms[0]) if weighted_terms else None

        norm, average = mean(part.norm.double().square() for part in parts), mean(part.mean for part in parts)
        assert norm is not None
        mean_square = mean(
            None if part.mean is None or part.variance is None else part.variance + part.mean.square() for part in parts
        )
        variance = None if mean_square is None or average is None else (mean_square - average.square()).clamp(min=0)
        return cls(norm.sqrt().float(), mean(part.gram for part in parts), average, variance)

    def gathered(self, name: Literal["gram", "mean", "variance", "gradient"], step: Plugin) -> Tensor:
        """Returns the statistic called ``name``, which ``step`` needs.

        Raises:
            ValueError: if it was not gathered; the message names the class of ``step``.
        """
        if (statistic := getattr(self, name)) is None:
            raise ValueError(f"{type(step).__name__} needs the pool's {name}, which was not gathered")
        return statistic

    def share_lost(self, weight: Tensor, updated: Tensor) -> float:
        """Returns ||X (W - W')^T||^2 / ||X W^T||^2 for a weight W and its update W' (out, in); 0 if X W^T is zero.

        Without a Gram matrix, it is computed from norms, as if channels were uncorrelated.
        """
        dtype = torch.promote_types(weight.dtype, torch.float32)
        moments = (self.norm.square() if self.gram is None else self.gram).to(weight.device, dtype)

        def squared_output(rows: Tensor) -> float:
            rows = rows.to(dtype)
            return float((rows * (rows * moments if self.gram is None else rows @ moments)).sum(dtype=torch.float64))

        dense_output = squared_output(weight)
        return squared_output(weight - updated) / dense_output if dense_output > 0 else 0.0

    def divided(self, scale: Tensor) -> Self:
        """Returns the statistics of channels divided by ``scale`` (in,), without moments and gradients."""
        gram = None if self.gram is None else self.gram / scale.to(self.gram) / scale.to(self.gram)[:, None]
        return replace(self, norm=self.norm / scale.to(self.norm), gram=gram, mean=None, variance=None, gradient=None)


@dataclass(frozen=True)
class Pruned:
    """The outcome of pruning one Linear.

    Attributes:
        mask: bool (out, in), True = kept.
        weight: new weight (out, in) if kept weights were updated, else None.
        shift: addition to the bias (out,), or None.
    """

    mask: Tensor
    weight: Tensor | None = None
    shift: Tensor | None = None

    def applied_to(self, weight: Tensor) -> Tensor:
        """Returns the sparse weight, in the dtype and on the device of the dense ``weight``."""
        values = weight if self.weight is None else self.weight.to(weight)
        return values.masked_fill(~self.mask.to(weight.device), 0)


class Criterion(Plugin, ABC):
    """Base class of criteria: scores of weights, of which the lowest are pruned. Most criteria only define ``score``.

    Attributes:
        needs_gram: whether ``pool.gram`` is gathered.
        needs_moments: whether ``pool.mean`` and ``pool.variance`` are gathered.
        needs_saliency: whether ``pool.saliency`` of experts is gathered, for patterns that remove whole experts.
        needs_gradient: whether ``pool.gradient`` is gathered, which takes a forward and a backward pass of each block.
    """

    option = "criterion"

    needs_gram: bool = False
    needs_moments: bool = False
    needs_saliency: bool = False
    needs_gradient: bool = False

    @property
    def updates_weights(self) -> bool:
        """Whether kept weights may change, which is the case if the class overrides ``prune``."""
        return type(self).prune is not Criterion.prune

    @abstractmethod
    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the scores of a weight (out, in), in at least float32 and with the same shape."""

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        """Returns the mask of a weight (out, in), or the given ``mask``, and new values of the kept weights, if any."""
        return Pruned(pattern.checked_mask(self.checked_score(weight, pool), sparsity) if mask is None else mask)

    def checked_score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the scores from ``score``, checked.

        Raises:
            ContractError: if the scores have a different shape, are not float32 or float64, or contain NaN.
        """
        score, class_name = self.score(weight, pool), type(self).__name__
        if score.shape != weight.shape:
            raise ContractError(
                f"criterion: {class_name} returned scores {tuple(score.shape)} for a weight {tuple(weight.shape)}"
            )
        if not score.is_floating_point() or score.dtype.itemsize < 4:
            raise ContractError(
                f"criterion: {class_name} returned scores in {score.dtype}; expected float32 or float64"
            )
        if score.isnan().any():
            raise ContractError(f"criterion: {class_name} returned a NaN score")
        return score
