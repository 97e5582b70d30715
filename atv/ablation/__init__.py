"""Ablations: grids of cells that are run once each, and the tables, figures and findings made from them.

The page over all ablations is in ``atv.reporting``; loggers are in ``atv.tracking``.
"""

# The names that an ablation file needs; charts are in ``atv.ablation.charts``.
from atv.ablation.base import Ablation
from atv.ablation.bench import Bench
from atv.ablation.cell import DENSE_PATHWAY, Cell, Labels
from atv.ablation.findings import NO_NUMBER, POINT, Finding
from atv.ablation.levels import SUITED, Levels, percent
from atv.ablation.measuring import Measured, pruned_copy
from atv.ablation.results import Results

__all__ = [
    "DENSE_PATHWAY",
    "NO_NUMBER",
    "POINT",
    "SUITED",
    "Ablation",
    "Bench",
    "Cell",
    "Finding",
    "Labels",
    "Levels",
    "Measured",
    "Results",
    "percent",
    "pruned_copy",
]
