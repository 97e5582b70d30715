"""Steps after the choice of a mask, one rule per file: swaps of pruned and kept weights, and new values of kept ones.

Criteria score the weights, and patterns decide which places may be zero.
"""

from atv.refinement.base import Reconstruction, Refinement
from atv.refinement.block_reconstruction import BlockReconstruction, PrunedBlock
from atv.refinement.dsnot import DSnoT
from atv.refinement.least_squares import LeastSquares
from atv.refinement.mean_to_bias import MeanToBias
from atv.refinement.swaps import SparseSwaps

__all__ = [
    "BlockReconstruction",
    "DSnoT",
    "LeastSquares",
    "MeanToBias",
    "PrunedBlock",
    "Reconstruction",
    "Refinement",
    "SparseSwaps",
]
