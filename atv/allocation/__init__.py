"""Allocations: how much each Linear loses."""

from atv.allocation.base import Allocation
from atv.allocation.uniform import Uniform

__all__ = ["Allocation", "Uniform"]
