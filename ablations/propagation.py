"""Do the choices that the authors' code makes in passing matter? (Errors and ambiguities found in it.)"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from atv.ablation import POINT, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import averages, counts, panels
from atv.api import Pathway
from atv.records.masks import overlap
from atv.selection import DriftTopK, Tokens


class CoarseDrift(DriftTopK):
    """Ranks by a drift whose cosine was rounded to bfloat16, as a model in that precision gives it."""

    def rank(self, tokens: Tokens) -> Tensor:
        return 1 - (1 - tokens.drift).to(torch.bfloat16).to(tokens.drift.dtype)


VARIANTS = {
    "sequential, float32, round": (DriftTopK(), True),
    "one-shot": (DriftTopK(), False),
    "drift in bf16": (CoarseDrift(), True),
    "K rounded down": (DriftTopK(rounding="floor"), True),
}
STANDARD = "sequential, float32, round"


class Propagation(Ablation):
    """ATV-Pruning with one choice changed at a time."""

    name = "propagation"
    question = "Do one-shot calibration, drift in bf16, or a K rounded down change the outcome?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        return [Cell({"variant": "dense", "sparsity": 0.0})] + [
            Cell(
                {"variant": name, "sparsity": sparsity},
                {"both": Pathway(rule, sparsity)},
                propagate=propagate,
                seed=seed,
            )
            for sparsity in self.levels.hardest
            for name, (rule, propagate) in VARIANTS.items()
        ]

    def table(self, results: Results) -> pd.DataFrame:
        """With the mean IoU of the masks with the standard variant's."""
        table = super().table(results)
        keys = zip(table["variant"], table["sparsity"], strict=True)
        table.insert(2, "IoU with standard", [round(_agreement(results, *key), 4) for key in keys])
        return table

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        titles = {sparsity: f"{percent(sparsity)} sparsity" for sparsity in self.levels.hardest}
        figure, _ = panels(average, "sparsity", titles, list(VARIANTS), "variant", (10, 2.8))
        figure.suptitle(counts(average), fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def against(variant: str, sparsity: float, claim: str, bound: float) -> Finding:
            one, two = {"variant": STANDARD, "sparsity": sparsity}, {"variant": variant, "sparsity": sparsity}
            ours = results.difference(one, two) if bound == 0 else results.difference(two, one)
            # "Costs less than a point" has its margin in the bound.
            margin = POINT if bound == 0 else None
            count, named = results.count(**one), f"{claim} ({percent(sparsity)})"
            return Finding(named, "", ours, "points of retention", bound, count, margin=margin)

        return [
            finding
            for sparsity in self.levels.hardest
            for finding in (
                against("one-shot", sparsity, "Blocks calibrated on pruned predecessors keep more than one-shot.", 0.0),
                against("drift in bf16", sparsity, "Drift in bf16 costs less than a point.", -1.0),
                against("K rounded down", sparsity, "Rounding K down costs less than a point.", -1.0),
            )
        ]


def _agreement(results: Results, variant: str, sparsity: float) -> float:
    if variant == "dense":
        return float("nan")
    standard = {done.cell.seed: done for done in results.of(variant=STANDARD, sparsity=sparsity)}
    others = results.of(variant=variant, sparsity=sparsity)
    return float(np.mean([list(overlap(o.masks(), standard[o.cell.seed].masks()).values()) for o in others]))
