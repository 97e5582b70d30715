"""Ranking of visual tokens by attention."""

from torch import Tensor

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class AttentionTopK(VisualRanking):
    """All text tokens, and the visual tokens that the last query attends to most (ATV-Pruning's ablation, "ABS").

    Attention is averaged over heads.
    """

    needs_attention = True

    def rank(self, tokens: Tokens) -> Tensor:
        return tokens.attention
