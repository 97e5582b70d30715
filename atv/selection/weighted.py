"""Text, pictures, answers and plain text, each with a weight of its own."""

from collections.abc import Iterator

import torch
from torch import Tensor

from atv.plugins import ContractError, at_least
from atv.selection.base import SetStatistics, Tokens, TokenSelection, WholeSet
from atv.selection.ranking import VisualRanking


class WeightedPools(TokenSelection):
    """A weighted sum of pools: X^T X is the sum of weight_p X_p^T X_p / n_p, and squared norms likewise.

    Pools are text tokens, visual tokens and, where they are given a weight, answers and plain text by themselves; n_p
    counts a pool's tokens in the whole calibration set, so that a pool weighs what is said, however many its tokens.

    Args:
        text: weight of the text tokens that are in no pool of their own.
        visual: weight of the visual tokens.
        answers: weight of the assistant's tokens; by default they are text. It needs batches with labels.
        plain: weight of samples without any picture; by default they are text.
        picks: a rule that ranks visual tokens, such as ``DriftTopK()``: those that it picks enter; by default all do.
        words: whether, within a pool of text, each entry of the vocabulary weighs the same, however often it occurs.
        by_count: False leaves out n_p: a weight is then that of each token, or, with ``words``, of each entry.

    Raises:
        ValueError: for a negative weight; when samples are read, for a pool of its own that has no token.
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
        self._weighed: tuple[WholeSet, Tensor] | None = None

    def select(self, tokens: Tokens) -> Tensor:
        whole = tokens.whole
        if self._weighed is None or self._weighed[0] is not whole:
            self._weighed = whole, self._weights(whole)
        return self._weighed[1][whole.sample == tokens.sample].to(tokens.visual.device)

    def candidates(self, tokens: Tokens) -> Tensor:
        return super().candidates(tokens) if self.picks is None else self.picks.candidates(tokens)

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        assert self.picks is not None
        chosen = self.picks.decide(candidates, n_text, statistics)
        return chosen * (self.visual / self._entering(statistics) if self.by_count else self.visual)

    def _entering(self, statistics: SetStatistics) -> int:
        """How many visual tokens of the whole set enter the block's pool, at least 1."""
        if statistics.whole is None:
            raise ContractError("selection: WeightedPools was given statistics without the whole set")
        assert self.picks is not None
        budgets = (
            min(visual, self.picks.budget(text, statistics.mean_drift))
            for text, visual in zip(*(counts.tolist() for counts in statistics.whole.by_sample), strict=True)
        )
        return max(sum(budgets), 1)

    def _weights(self, whole: WholeSet) -> Tensor:
        """The weight of every token of the set that enters at once: float32 (N,)."""
        weights = torch.zeros(len(whole.ids), dtype=torch.float64)
        for pool, weight in self._pools(whole):
            share = torch.ones(int(pool.sum()), dtype=torch.float64)
            if self.words and not whole.visual[pool].any():
                share /= torch.bincount(whole.ids[pool])[whole.ids[pool]]
            weights[pool] = weight * (share / share.sum() if self.by_count else share)
        return weights.float()

    def _pools(self, whole: WholeSet) -> Iterator[tuple[Tensor, float]]:
        """(bool (N,), weight) of each pool that has tokens and is known from the start; no token is in two."""
        text = whole.text
        for name, weight, own in (
            ("plain", self.plain, ~whole.pictured),
            ("answers", self.answers, whole.answer),
        ):
            if weight is not None:
                if not (text & own).any():
                    raise ValueError(f"{name}: a weight was given, and the calibration set has no such token")
                yield text & own, weight
                text = text & ~own
        pools = [(text, self.text)] if self.picks is not None else [(text, self.text), (whole.visual, self.visual)]
        yield from ((pool, weight) for pool, weight in pools if pool.any())
