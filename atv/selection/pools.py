"""Rules that take all tokens of one or both modalities."""

from torch import Tensor

from atv.selection.base import Tokens, TokenSelection


class AllTokens(TokenSelection):
    """All text and visual tokens: the pool of Wanda (arXiv 2306.11695)."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text | tokens.visual


class TextOnly(TokenSelection):
    """Text tokens only."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text


class VisualOnly(TokenSelection):
    """Visual tokens only."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.visual
