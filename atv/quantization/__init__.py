"""Fewer bits per weight after pruning, with one method per file, and the output format; zeros stay exactly zero.

``atv.calibration`` gathers pools and runs the blocks; pruning has decided beforehand which weights are zero.
"""

from atv.quantization.awq import AWQ
from atv.quantization.base import Quantizer
from atv.quantization.gptq import GPTQ
from atv.quantization.nearest import Nearest
from atv.quantization.whole_numbers import Quantized, RoundingGrid

__all__ = ["AWQ", "GPTQ", "Nearest", "Quantized", "Quantizer", "RoundingGrid"]
