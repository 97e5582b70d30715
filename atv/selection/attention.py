"""Ranking by attention."""

from torch import Tensor

from atv.selection.base import Tokens
from atv.selection.ranking import VisualRanking


class AttentionTopK(VisualRanking):
    """The visual tokens that the last query attends to most, mean over heads (ATV-Pruning's ablation, "ABS")."""

    needs_attention = True

    def rank(self, tokens: Tokens) -> Tensor:
        return tokens.attention
