"""Rules that take whole modalities."""

from torch import Tensor

from atv.selection.base import Tokens, TokenSelection


class AllTokens(TokenSelection):
    """Every token, text and visual: the pool of Wanda (arXiv 2306.11695)."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text | tokens.visual


class TextOnly(TokenSelection):
    """Text tokens alone."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text


class VisualOnly(TokenSelection):
    """Visual tokens alone."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.visual
