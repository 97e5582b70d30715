"""Criteria, one rule a file: how a weight is scored, and whether what is kept is updated.

Which of the scored weights are kept is for patterns.
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
