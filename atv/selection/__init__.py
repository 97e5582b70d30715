"""Token selection: which tokens of a calibration sample enter the pool."""

from atv.selection.base import SetStatistics, Tokens, TokenSelection
from atv.selection.drift import DriftTopK
from atv.selection.pools import AllTokens, TextOnly, VisualOnly
from atv.selection.random import RandomVisual
from atv.selection.ranking import VisualRanking

__all__ = [
    "AllTokens",
    "DriftTopK",
    "RandomVisual",
    "SetStatistics",
    "TextOnly",
    "TokenSelection",
    "Tokens",
    "VisualOnly",
    "VisualRanking",
]
