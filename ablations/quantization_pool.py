"""Which tokens should calibrate quantization? (A public report says that pictures help GPTQ and hurt AWQ.)"""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from atv.ablation import Ablation, Cell, Finding, Results
from atv.ablation.charts import PALETTE, averages, panels, sample_sizes
from atv.api import Pathway
from atv.criteria import PoolStatistics
from atv.quantization import AWQ, GPTQ, Quantizer, RoundingGrid
from atv.refinement import Reconstruction
from atv.selection import AllTokens, DriftTopK, GradientRatio, TextOnly, TokenSelection, VisualOnly, WeightedPools

POOLS: Mapping[str, TokenSelection] = {
    "text": TextOnly(),
    "visual": VisualOnly(),
    "mixed": AllTokens(),
    "ATV": DriftTopK(),
    "answers + 0.3 visual": WeightedPools(text=0, visual=0.3, answers=1),
    "MBQ": GradientRatio(),
}
METHODS: Mapping[str, Quantizer] = {"GPTQ": GPTQ(), "AWQ": AWQ()}
# Not the grid of the everyday model's own weights, which have 4 bits in groups of 32.
BITS = 3


class Rounded(Reconstruction):
    """Rounds weights as quantization does, with one scale per row; AWQ's channel scales are undone in each Linear.

    Args:
        method: the quantizer that rounds them.
        bits: number of bits per weight.
    """

    needs_gram = True

    def __init__(self, method: Quantizer, bits: int) -> None:
        self.method, self.bits = method, bits

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        grid, kept = RoundingGrid(self.bits, weight.shape[1]), mask.to(weight.device)
        if not self.method.scales_channels:
            return self.method.quantize(weight, kept, pool, grid).weight
        scale = self.method.channel_scale({"": weight}, {"": kept}, pool, grid).to(weight.device)
        return self.method.quantize(weight * scale, kept, pool.divided(scale), grid).weight / scale


class QuantizationPool(Ablation):
    """GPTQ and AWQ on the dense model, at 3 bits per weight with one scale per row, calibrated on different pools.

    The pools are text tokens, visual tokens, both, ATV's pool, and answers with visual tokens that weigh 0.3 together
    or as MBQ balances them.
    """

    name = "quantization_pool"
    question = "Which tokens should calibrate quantization, and are they the same for GPTQ and AWQ?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"method": "dense", "pool": "-"})]
        for name, method in METHODS.items():
            for pool, selection in POOLS.items():
                rounded = Pathway(selection, 0.0, criterion="Magnitude", reconstruct=Rounded(method, BITS))
                grid.append(Cell({"method": name, "pool": pool}, {"both": rounded}, seed=seed))
        return grid

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        figure, _ = panels(
            average, by="method", titles=list(METHODS), line="pool", names=list(POOLS), size=(9, 3), colors=PALETTE
        )
        figure.suptitle(f"{BITS} bits by calibration pool, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def compare(method: str, better_pool: str, other_pool: str) -> Finding:
            labels, other_labels = ({"method": method, "pool": pool} for pool in (better_pool, other_pool))
            claim = f"{method}: calibrated on {better_pool} tokens it keeps more than on {other_pool} tokens."
            return results.keeps_more(claim, labels, other_labels)

        return [compare("GPTQ", "mixed", "text"), compare("AWQ", "text", "mixed"), compare("GPTQ", "ATV", "mixed")]
