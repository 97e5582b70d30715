"""Criteria, one per file: how weights are scored, and whether kept weights are updated.

Patterns decide which of the scored weights are kept.
"""

from atv.criteria.admm import ADMM
from atv.criteria.alps import ALPS
from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.fluctuation import Fluctuation
from atv.criteria.magnitude import Magnitude
from atv.criteria.reap import REAP
from atv.criteria.ria import RIA
from atv.criteria.sparsegpt import SparseGPT
from atv.criteria.wanda import Wanda
from atv.criteria.wanda_plus_plus import WandaPlusPlus

__all__ = [
    "ADMM",
    "ALPS",
    "REAP",
    "RIA",
    "Criterion",
    "Fluctuation",
    "Magnitude",
    "PoolStatistics",
    "Pruned",
    "SparseGPT",
    "Wanda",
    "WandaPlusPlus",
]
