"""Allocations: how much each Linear loses."""

from atv.allocation.base import Allocation, DenseBatch, DenseStatistics
from atv.allocation.uniform import Uniform

__all__ = ["Allocation", "DenseBatch", "DenseStatistics", "Uniform"]
