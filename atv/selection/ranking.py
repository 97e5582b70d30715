"""Base class of rules that take all text tokens, and the best-ranked visual tokens within a budget."""

import math
from abc import abstractmethod
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor

from atv.patterns.counting import exact_decimal
from atv.plugins import ContractError, at_least
from atv.selection.base import SetStatistics, Tokens, TokenSelection


class VisualRanking(TokenSelection):
    """All text tokens of each sample, and its K visual tokens with the highest scores.

    Args:
        alpha: factor of an adaptive budget, K = min(1, alpha * mean drift of the block) * n_text (ATV-Pruning, step 4).
            Default: 1, unless ``share`` is given.
        share: instead of ``alpha``, the same budget in every block, K = share * n_text.
        cap: whether an adaptive K is at most n_text, as in the authors' code; the paper's formula has no cap.
        rounding: how K is rounded: to the nearest integer, as in the authors' code, or down, as in the paper.

    Raises:
        ValueError: if both ``alpha`` and ``share`` are given, if one is negative, or for an unknown ``rounding``.
    """

    def __init__(
        self,
        alpha: float | None = None,
        share: float | None = None,
        cap: bool = True,
        rounding: Literal["round", "floor"] = "round",
    ) -> None:
        if alpha is not None and share is not None:
            raise ValueError(f"{type(self).__name__} takes either alpha or share, got alpha={alpha} and share={share}")
        if share is None:
            alpha = 1.0 if alpha is None else alpha
        at_least(0, alpha=alpha, share=share)
        if rounding not in ("round", "floor"):
            raise ValueError(f"rounding: expected 'round' or 'floor', got {rounding!r}")
        self.alpha, self.share, self.cap, self.rounding = alpha, share, cap, rounding

    @abstractmethod
    def rank(self, tokens: Tokens) -> Tensor:
        """Returns a score for every token, float (n,). Visual tokens with high scores enter first, ties by position."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text

    def candidates(self, tokens: Tokens) -> Tensor:
        visual = tokens.position[tokens.visual]
        order = torch.sort(self._visual_scores(tokens), descending=True, stable=True).indices
        return visual[order[: self._max_budget(tokens.n_text, len(visual))]]

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        ranks = torch.arange(len(candidates), device=candidates.device)
        return ranks < self.budget(n_text, statistics.mean_drift)

    def budget(self, n_text: int, mean_drift: float) -> int:
        """Returns K for a sample with ``n_text`` text tokens, not yet limited by its number of visual tokens."""
        if self.share is not None:
            return self._rounded(exact_decimal(self.share) * n_text)
        assert self.alpha is not None
        fraction = exact_decimal(self.alpha) * exact_decimal(mean_drift)
        return self._rounded((min(Fraction(1), fraction) if self.cap else fraction) * n_text)

    def _visual_scores(self, tokens: Tokens) -> Tensor:
        """Returns the scores of the visual tokens from ``rank``.

        Raises:
            ContractError: if ``rank`` does not return one score per token, or returns NaN for a visual token.
        """
        scores: Any = self.rank(tokens)
        label, expected = f"selection: {type(self).__name__}.rank", tuple(tokens.visual.shape)
        if not isinstance(scores, Tensor) or scores.shape != expected:
            description = (
                f"scores {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            )
            raise ContractError(f"{label} returned {description}; expected scores {expected}, one per token")
        visual_scores = scores[tokens.visual]
        if visual_scores.isnan().any():
            raise ContractError(
                f"{label} returned NaN for a visual token of sample {tokens.sample} at block {tokens.block}"
            )
        return visual_scores

    def _max_budget(self, n_text: int, n_visual: int) -> int:
        """Upper bound of the budget for any mean drift, so that the inputs of no more tokens need to be kept."""
        if self.share is not None:
            return min(self._rounded(exact_decimal(self.share) * n_text), n_visual)
        return min(n_text, n_visual) if self.cap else n_visual

    def _rounded(self, value: Fraction) -> int:
        return round(value) if self.rounding == "round" else math.floor(value)
