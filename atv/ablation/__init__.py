"""Ablations: cells of a grid, run once each, and the tables, figures and findings made of them.

The page over all ablations is in ``atv.reporting``, loggers in ``atv.tracking``.
"""

# What an ablation's file is written with; charts are in ``atv.ablation.charts``.
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
