"""Does every text token matter? (The paper's Figure 5.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import NO_NUMBER, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import PALETTE, averages, curve, sample_sizes
from atv.api import Pathway
from atv.selection import TextFraction

KEPT = (1.0, 0.8, 0.6, 0.4, 0.2)


class TextRetention(Ablation):
    """ATV-Pruning's pool with a random share of its text tokens; smaller shares are subsets of larger ones."""

    name = "text_retention"
    question = "How much does the pool lose with its text tokens?"
    paper = "Figure 5"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"text kept": 0.0, "sparsity": 0.0})]
        for sparsity in self.levels.mild_and_hard:
            for kept_share in KEPT:
                pool = Pathway(TextFraction(kept_share), sparsity)
                grid.append(Cell({"text kept": kept_share, "sparsity": sparsity}, {"both": pool}, seed=seed))
        return grid

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        for sparsity, color in zip(self.levels.mild_and_hard, PALETTE, strict=False):
            rows = average[average["sparsity"] == sparsity].sort_values("text kept")
            curve(axes, 100 * rows["text kept"], rows, f"{percent(sparsity)} sparsity", color)
        axes.set(xlabel="text tokens kept in the pool (%)", ylabel="average retention (%)")
        axes.set_title(sample_sizes(average), fontsize=9)
        axes.legend(frameon=False)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def hurts(kept: float, sparsity: float) -> Finding:
            all_labels, fewer_labels = ({"text kept": share, "sparsity": sparsity} for share in (1.0, kept))
            claim = f"Dropping text tokens hurts: all keep more than {kept:.0%} of them at {percent(sparsity)} sparsity"
            return results.keeps_more(f"{claim}.", all_labels, fewer_labels, paper=f"always, {NO_NUMBER}")

        return [hurts(kept, sparsity) for sparsity in self.levels.mild_and_hard for kept in (0.8, 0.2)]
