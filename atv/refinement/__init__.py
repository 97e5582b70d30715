"""What is done once a mask was chosen, one rule a file: weights that change places, and new values of those that stay.

How a weight is scored is for criteria, which places may be zero for patterns.
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
