"""The rule of the text-retention ablation."""

import numpy as np
import torch
from torch import Tensor

from atv.selection.base import SetStatistics, Tokens, TokenSelection
from atv.selection.drift import DriftTopK
from atv.selection.weighted import WeightedPools


class TextFraction(TokenSelection):
    """The visual tokens that another rule picks, and a random share of the text tokens that it picks.

    The draw depends only on the seed and the sample. It is therefore the same in every block, and the tokens of a
    smaller fraction are among those of a larger one. The other rule sees the whole sample, so a drift budget still
    counts every text token.

    Args:
        fraction: share of each sample's text tokens that is kept, in [0, 1]; their number is rounded to the nearest
            integer.
        rule: the other rule. Default: ``DriftTopK()``.

    Raises:
        ValueError: if the fraction is outside [0, 1], or the rule weights pools by their number of tokens.
    """

    def __init__(self, fraction: float, rule: TokenSelection | None = None) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction: expected a number in [0, 1], got {fraction}")
        if isinstance(rule, WeightedPools) and rule.by_count:
            raise ValueError(
                "rule: WeightedPools weights a pool by its number of tokens, which TextFraction changes; "
                "set by_count=False"
            )
        self.fraction, self.rule = fraction, rule or DriftTopK()
        self.average = self.rule.average
        self.adopt_needs(self.rule)

    def select(self, tokens: Tokens) -> Tensor:
        return self.rule.select(tokens) * (tokens.visual | self._kept_text(tokens))

    def candidates(self, tokens: Tokens) -> Tensor:
        return self.rule.candidates(tokens)

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        return self.rule.decide(candidates, n_text, statistics)

    def _kept_text(self, tokens: Tokens) -> Tensor:
        order = np.random.default_rng((tokens.seed, tokens.sample)).permutation(tokens.n_text)
        is_kept = torch.zeros_like(tokens.visual)
        is_kept[tokens.position[tokens.text][torch.from_numpy(order[: round(self.fraction * tokens.n_text)])]] = True
        return is_kept
