"""Criteria: how a weight is scored, and whether what is kept is updated."""

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.magnitude import Magnitude
from atv.criteria.ria import RIA
from atv.criteria.sparsegpt import SparseGPT
from atv.criteria.wanda import Wanda

__all__ = ["RIA", "Criterion", "Magnitude", "PoolStatistics", "Pruned", "SparseGPT", "Wanda"]
