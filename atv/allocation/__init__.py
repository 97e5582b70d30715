"""Allocations, with one file per rule or family of rules: how sparse each Linear becomes.

Criteria and patterns decide which of its weights are pruned.
"""

from atv.allocation.base import Allocation, DenseStatistics
from atv.allocation.block_influence import BlockInfluence
from atv.allocation.importance import DAS, ECoFLaP
from atv.allocation.kinds import ByKind
from atv.allocation.outliers import DLP, OWL
from atv.allocation.spectrum import AlphaPruning
from atv.allocation.uniform import Uniform

__all__ = [
    "DAS",
    "DLP",
    "OWL",
    "Allocation",
    "AlphaPruning",
    "BlockInfluence",
    "ByKind",
    "DenseStatistics",
    "ECoFLaP",
    "Uniform",
]
