"""ATV-Pruning and the decoupled text and visual pathways of Large Vision-Language Models."""

from atv.allocation import DAS, DLP, OWL, Allocation, ByKind, DenseBatch, DenseStatistics, ECoFLaP, Uniform
from atv.api import Pathway, decouple, prune
from atv.criteria import RIA, Criterion, Magnitude, PoolStatistics, Pruned, SparseGPT, Wanda
from atv.patterns import NOfM, Pattern, PerBlock, PerLayer, Unstructured
from atv.records.masks import load_masks, save_masks
from atv.records.pruning_report import BlockReport, PathwayReport, PruningReport
from atv.selection import (
    AMIA,
    AllTokens,
    AttentionTopK,
    DiversityTopK,
    DriftTopK,
    RandomVisual,
    SetStatistics,
    TextFraction,
    TextOnly,
    Tokens,
    TokenSelection,
    VisualOnly,
    VisualRanking,
)

__version__ = "0.1.0"

__all__ = [
    "AMIA",
    "DAS",
    "DLP",
    "OWL",
    "RIA",
    "AllTokens",
    "Allocation",
    "AttentionTopK",
    "BlockReport",
    "ByKind",
    "Criterion",
    "DenseBatch",
    "DenseStatistics",
    "DiversityTopK",
    "DriftTopK",
    "ECoFLaP",
    "Magnitude",
    "NOfM",
    "Pathway",
    "PathwayReport",
    "Pattern",
    "PerBlock",
    "PerLayer",
    "PoolStatistics",
    "Pruned",
    "PruningReport",
    "RandomVisual",
    "SetStatistics",
    "SparseGPT",
    "TextFraction",
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
