"""ATV-Pruning and the decoupled text and visual pathways of Large Vision-Language Models."""

from atv.allocation import Allocation, DenseBatch, DenseStatistics, Uniform
from atv.api import Pathway, decouple, prune
from atv.criteria import Criterion, Magnitude, PoolStatistics, Pruned, Wanda
from atv.masks import load_masks, save_masks
from atv.patterns import NOfM, Pattern, Unstructured
from atv.report import BlockReport, PathwayReport, PruningReport
from atv.selection import (
    AllTokens,
    DriftTopK,
    RandomVisual,
    SetStatistics,
    TextOnly,
    Tokens,
    TokenSelection,
    VisualOnly,
    VisualRanking,
)

__version__ = "0.1.0"

__all__ = [
    "AllTokens",
    "Allocation",
    "BlockReport",
    "Criterion",
    "DenseBatch",
    "DenseStatistics",
    "DriftTopK",
    "Magnitude",
    "NOfM",
    "Pathway",
    "PathwayReport",
    "Pattern",
    "PoolStatistics",
    "Pruned",
    "PruningReport",
    "RandomVisual",
    "SetStatistics",
    "TextOnly",
    "TokenSelection",
    "Tokens",
    "Uniform",
    "Unstructured",
    "VisualOnly",
    "VisualRanking",
    "Wanda",
    "decouple",
    "load_masks",
    "prune",
    "save_masks",
]
