"""Criteria: how a weight is scored."""

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.magnitude import Magnitude
from atv.criteria.ria import RIA
from atv.criteria.wanda import Wanda

__all__ = ["RIA", "Criterion", "Magnitude", "PoolStatistics", "Pruned", "Wanda"]
