"""Token selection, with one file per rule or family of rules: which tokens of a calibration sample enter the pool.

Gathering the statistics of these tokens belongs in ``atv.calibration``.
"""

from atv.selection.amia import AMIA
from atv.selection.attention import AttentionTopK
from atv.selection.balanced import BalancedPools
from atv.selection.base import SetStatistics, Tokens, TokenSelection, WholeSet
from atv.selection.diversity import DiversityTopK
from atv.selection.drift import DriftTopK
from atv.selection.gradient_ratio import GradientRatio
from atv.selection.parts import ObservedBlock, PartedSelection
from atv.selection.pools import AllTokens, TextOnly, VisualOnly
from atv.selection.random import RandomVisual
from atv.selection.ranking import VisualRanking
from atv.selection.sensitivity import TokenSensitivity
from atv.selection.text_fraction import TextFraction
from atv.selection.weighted import WeightedPools

__all__ = [
    "AMIA",
    "AllTokens",
    "AttentionTopK",
    "BalancedPools",
    "DiversityTopK",
    "DriftTopK",
    "GradientRatio",
    "ObservedBlock",
    "PartedSelection",
    "RandomVisual",
    "SetStatistics",
    "TextFraction",
    "TextOnly",
    "TokenSelection",
    "TokenSensitivity",
    "Tokens",
    "VisualOnly",
    "VisualRanking",
    "WeightedPools",
    "WholeSet",
]
