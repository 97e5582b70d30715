"""A rule that gives text, visual tokens, answers and plain text separate weights."""

from collections.abc import Iterator

import torch
from torch import Tensor

from atv.plugins import ContractError, at_least
from atv.selection.base import SetStatistics, Tokens, TokenSelection, WholeSet
from atv.selection.ranking import VisualRanking


class WeightedPools(TokenSelection):
    """A weighted sum of pools of text, visual tokens, answers and plain text.

    X^T X is the sum of weight_p X_p^T X_p / n_p, and squared norms likewise. Text tokens and visual tokens are pools;
    answers and plain text become separate pools if they are given a weight. n_p is the number of a pool's tokens in the
    whole calibration set, so a pool's influence is its weight, however many tokens it has.

    Args:
        text: weight of the text tokens that are in no separate pool.
        visual: weight of the visual tokens.
        answers: weight of the assistant's tokens, which requires batches with labels. Default: they count as text.
        plain: weight of the samples without pictures. Default: they count as text.
        picks: rule that ranks visual tokens, such as ``DriftTopK()``; only those that it picks enter. Default: all
            visual tokens enter.
        words: whether each vocabulary entry has the same weight within a text pool, however often it occurs.
        by_count: whether a pool is divided by n_p. If False, a weight applies to each token, or with ``words`` to each
            vocabulary entry.

    Raises:
        ValueError: if a weight is negative; when samples are read, if a separate pool has no token.
    """

    needs_whole = True
    average = "tokens"

    def __init__(
        self,
        text: float = 1.0,
        visual: float = 1.0,
        answers: float | None = None,
        plain: float | None = None,
        picks: VisualRanking | None = None,
        words: bool = False,
        by_count: bool = True,
    ) -> None:
        at_least(0, text=text, visual=visual, answers=answers, plain=plain)
        self.text, self.visual, self.answers, self.plain = text, visual, answers, plain
        self.picks, self.words, self.by_count = picks, words, by_count
        self.needs_answers = answers is not None
        if picks is not None:
            self.adopt_needs(picks)
        self._set_weights: tuple[WholeSet, Tensor] | None = None

    def select(self, tokens: Tokens) -> Tensor:
        whole = tokens.whole
        if self._set_weights is None or self._set_weights[0] is not whole:
            self._set_weights = whole, self._weights(whole)
        return self._set_weights[1][whole.sample == tokens.sample].to(tokens.visual.device)

    def candidates(self, tokens: Tokens) -> Tensor:
        return super().candidates(tokens) if self.picks is None else self.picks.candidates(tokens)

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        assert self.picks is not None
        decisions = self.picks.decide(candidates, n_text, statistics)
        return decisions * (self.visual / self._entering_count(statistics) if self.by_count else self.visual)

    def _entering_count(self, statistics: SetStatistics) -> int:
        """Number of visual tokens in the whole calibration set that enter the block's pool, at least 1."""
        if statistics.whole is None:
            raise ContractError("selection: WeightedPools got statistics without the whole calibration set")
        assert self.picks is not None
        budgets = (
            min(visual, self.picks.budget(text, statistics.mean_drift))
            for text, visual in zip(*(counts.tolist() for counts in statistics.whole.by_sample), strict=True)
        )
        return max(sum(budgets), 1)

    def _weights(self, whole: WholeSet) -> Tensor:
        """Weights of the set's tokens that enter immediately, 0 for all others: float32 (N,)."""
        weights = torch.zeros(len(whole.ids), dtype=torch.float64)
        for pool, weight in self._pools(whole):
            token_weights = torch.ones(int(pool.sum()), dtype=torch.float64)
            if self.words and not whole.visual[pool].any():
                token_weights /= torch.bincount(whole.ids[pool])[whole.ids[pool]]
            weights[pool] = weight * (token_weights / token_weights.sum() if self.by_count else token_weights)
        return weights.float()

    def _pools(self, whole: WholeSet) -> Iterator[tuple[Tensor, float]]:
        """Yields the tokens, bool (N,), and the weight of each disjoint nonempty pool that is known from the start."""
        text = whole.text
        for name, weight, members in (
            ("plain", self.plain, ~whole.pictured),
            ("answers", self.answers, whole.answer),
        ):
            if weight is not None:
                if not (text & members).any():
                    raise ValueError(f"{name}: a weight was given, but the calibration set has no such token")
                yield text & members, weight
                text = text & ~members
        pools = [(text, self.text)] if self.picks is not None else [(text, self.text), (whole.visual, self.visual)]
        yield from ((pool, weight) for pool, weight in pools if pool.any())
