"""Do incidental choices in the authors' code matter? (Errors and ambiguities found in it.)"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from atv.ablation import Ablation, Cell, Finding, Labels, Results, percent
from atv.ablation.charts import averages, panels, sample_sizes
from atv.api import Pathway
from atv.records.masks import overlap
from atv.selection import DriftTopK, Tokens


class CoarseDrift(DriftTopK):
    """Ranks by a drift whose cosine is rounded to bfloat16, as a model in that precision computes it."""

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
                _labels(name, sparsity),
                {"both": Pathway(rule, sparsity)},
                propagate=propagate,
                seed=seed,
            )
            for sparsity in self.levels.middle_and_hard
            for name, (rule, propagate) in VARIANTS.items()
        ]

    def table(self, results: Results) -> pd.DataFrame:
        """The default table, plus the mean IoU of the masks with those of the standard variant."""
        table = super().table(results)
        keys = zip(table["variant"], table["sparsity"], strict=True)
        table.insert(2, "IoU with standard", [round(_agreement(results, *key), 4) for key in keys])
        return table

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        titles = {sparsity: f"{percent(sparsity)} sparsity" for sparsity in self.levels.middle_and_hard}
        figure, _ = panels(average, by="sparsity", titles=titles, line="variant", names=list(VARIANTS), size=(10, 2.8))
        figure.suptitle(sample_sizes(average), fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        return [
            finding
            for sparsity in self.levels.middle_and_hard
            for finding in (
                results.keeps_more(
                    f"Blocks calibrated on pruned predecessors keep more than one-shot. ({percent(sparsity)})",
                    _labels(STANDARD, sparsity),
                    _labels("one-shot", sparsity),
                ),
                _costs_little(results, "Drift in bf16", "drift in bf16", sparsity),
                _costs_little(results, "Rounding K down", "K rounded down", sparsity),
            )
        ]


def _labels(variant: str, sparsity: float) -> Labels:
    return {"variant": variant, "sparsity": sparsity}


def _costs_little(results: Results, choice: str, variant: str, sparsity: float) -> Finding:
    """The finding that a choice costs less than a point."""
    claim = f"{choice} costs less than a point. ({percent(sparsity)})"
    return results.keeps_as_much(claim, _labels(variant, sparsity), _labels(STANDARD, sparsity))


def _agreement(results: Results, variant: str, sparsity: float) -> float:
    if variant == "dense":
        return float("nan")
    standard_by_seed = {
        standard_cell.cell.seed: standard_cell for standard_cell in results.of(variant=STANDARD, sparsity=sparsity)
    }
    variant_cells = results.of(variant=variant, sparsity=sparsity)
    return float(
        np.mean(
            [
                list(overlap(variant_cell.masks(), standard_by_seed[variant_cell.cell.seed].masks()).values())
                for variant_cell in variant_cells
            ]
        )
    )
