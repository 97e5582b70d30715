"""Fewer bits a weight after pruning, one method a file: what is zero stays exactly zero, in the format that is written.

How pools are gathered and blocks are reached is calibration's; which weights are zero was decided before.
"""

from atv.quantization.awq import AWQ
from atv.quantization.base import Quantizer
from atv.quantization.gptq import GPTQ
from atv.quantization.nearest import Nearest
from atv.quantization.whole_numbers import Quantized, RoundingGrid

__all__ = ["AWQ", "GPTQ", "Nearest", "Quantized", "Quantizer", "RoundingGrid"]
