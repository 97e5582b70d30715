"""How many calibration samples are enough? (Users of such methods ask this, and the paper does not answer it.)"""

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import PALETTE, averages, curve, finish, sample_sizes
from atv.api import Pathway
from atv.records.masks import overlap

SIZES = (4, 8, 16, 32, 64, 128, 256)


class CalibrationSize(Ablation):
    """ATV-Pruning on 4 to 256 samples: what it keeps, and how similar the masks from different draws are."""

    name = "calibration_size"
    question = "How many calibration samples are enough?"
    seeds = 5

    def cells(self, seed: int) -> Sequence[Cell]:
        pool = {"both": Pathway("DriftTopK", self.levels.middle)}
        return [Cell({"samples": 0})] + [Cell({"samples": n}, pool, seed=seed, samples=n) for n in SIZES]

    def table(self, results: Results) -> pd.DataFrame:
        """The default table, plus the mean IoU of the masks from two draws of samples (over seed pairs and Linears)."""
        table = super().table(results)
        agreement = {0: float("nan")} | {size: _agreement(results, size) for size in SIZES}
        table.insert(1, "IoU of two draws", [round(agreement[size], 3) for size in table["samples"]])
        return table

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        rows = averages(table)[averages(table)["samples"] > 0]
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
        curve(left, rows["samples"], rows, "all draws", PALETTE[0])
        left.vlines(rows["samples"], rows["seed_low"], rows["seed_high"], color="0.4", linewidth=1)
        left.set(ylabel="average retention (%)")
        right.plot(rows["samples"], rows["IoU of two draws"], "o-", color=PALETTE[1])
        right.set(ylabel="IoU of the masks of two draws", ylim=(None, 1))
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set(xlabel="calibration samples", xticks=SIZES)
            axes.set_xticklabels([str(size) for size in SIZES])
            finish(axes)
        sparsity = percent(self.levels.middle)
        figure.suptitle(f"{sparsity}, {sample_sizes(rows)}; grey: least to greatest seed", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        claim = "{} samples keep as much as 128, to within a point."
        return [results.keeps_as_much(claim.format(size), {"samples": size}, {"samples": 128}) for size in (4, 16, 64)]


def _agreement(results: Results, size: int) -> float:
    """Mean IoU of each seed's masks with those of the next seed; NaN if there is only one seed."""
    draws = [finished_cell.masks() for finished_cell in results.of(samples=size)]
    overlaps = [list(overlap(masks, next_masks).values()) for masks, next_masks in pairwise(draws)]
    return float(np.mean(overlaps)) if overlaps else float("nan")
