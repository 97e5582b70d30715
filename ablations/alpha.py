"""How many visual tokens should the pool hold? (The paper's Figure 4.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import NO_NUMBER, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import PALETTE, averages, curve, sample_sizes
from atv.ablation.tables import with_visual_tokens
from atv.api import Pathway
from atv.selection import DriftTopK

ALPHAS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
# BalancedPools: one weight for all visual tokens, which each block finds on the calibration set.
NO_HAND = "none by hand"
# Alpha -> by how many points alpha 1 keeps more in the paper, at 50%.
PAPER = {0.0: 0.48, 8.0: 1.20}
NOTE = (
    "Visual tokens can only help where pruning harms the visual pathway; the bundled model's keeps nearly all at 50%, "
    "and the textual one gives way first at 70%."
)


class Alpha(Ablation):
    """ATV-Pruning with different values of alpha, and a rule without alpha.

    The budget has no cap, because the paper's token counts grow with alpha.
    """

    name = "alpha"
    question = "How many visual tokens should the calibration pool hold?"
    paper = "Figure 4"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"alpha": "dense", "sparsity": 0.0})]
        for sparsity in self.levels.mild_and_hard:
            for alpha in ALPHAS:
                pool = Pathway(DriftTopK(alpha, cap=False), sparsity)
                grid.append(Cell({"alpha": str(alpha), "sparsity": sparsity}, {"both": pool}, seed=seed))
        for sparsity in self.levels.mild_and_hard:
            pool = Pathway("BalancedPools", sparsity)
            grid.append(Cell({"alpha": NO_HAND, "sparsity": sparsity}, {"both": pool}, seed=seed))
        return grid

    def table(self, results: Results) -> pd.DataFrame:
        """The default table, plus the visual tokens selected per sample (mean over blocks)."""
        return with_visual_tokens(super().table(results), results)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        for sparsity, color in zip(self.levels.mild_and_hard, PALETTE, strict=False):
            rows = average[average["sparsity"] == sparsity]
            grid, own = rows[rows["alpha"] != NO_HAND], rows[rows["alpha"] == NO_HAND]
            curve(axes, range(len(grid)), grid, f"{percent(sparsity)} sparsity", color)
            spread = [own["retention"] - own["low"], own["high"] - own["retention"]]
            axes.errorbar([len(grid)] * len(own), own["retention"], yerr=spread, fmt="s", color=color, capsize=3)
        pruned = average[average["sparsity"].isin(self.levels.mild_and_hard)]
        tokens = pruned.groupby("alpha", sort=False)["visual tokens"]
        names = [f"{alpha}\n({', '.join(f'{count:.0f}' for count in own)})" for alpha, own in tokens]
        axes.set_xticks(range(len(names)), names)
        shares = ", ".join(map(percent, self.levels.mild_and_hard))
        axes.set(xlabel=f"alpha (visual tokens a sample at {shares})", ylabel="average retention (%)")
        axes.set_title(sample_sizes(average), fontsize=9)
        axes.legend(frameon=False)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def compare(claim: str, other_alpha: float, sparsity: float) -> Finding:
            alpha_1_labels, other_alpha_labels = (
                {"alpha": str(alpha), "sparsity": sparsity} for alpha in (1.0, other_alpha)
            )
            claim = f"{claim}: alpha 1 keeps more than alpha {other_alpha:g} at {percent(sparsity)}."
            printed = PAPER[other_alpha] if sparsity == 0.5 else None
            note = self.levels.bundled_note(NOTE) if other_alpha == 0 else ""
            return results.keeps_more(
                claim, alpha_1_labels, other_alpha_labels, paper=NO_NUMBER, printed=printed, note=note
            )

        def without_a_hand(sparsity: float) -> Finding:
            labels_by_alpha = {alpha: {"alpha": str(alpha), "sparsity": sparsity} for alpha in ALPHAS}
            best_alpha = max(ALPHAS, key=lambda alpha: results.retention(**labels_by_alpha[alpha])["average"].value)
            no_hand_labels = {"alpha": NO_HAND, "sparsity": sparsity}
            claim = (
                f"Without a hand: at {percent(sparsity)}, weights that blocks find themselves (BalancedPools) keep as "
                "much as the best alpha of the grid, to within 1 point."
            )
            return results.keeps_as_much(claim, no_hand_labels, labels_by_alpha[best_alpha])

        claims = {0.0: "Some visual tokens help", 8.0: "Too many hurt"}
        sparsities = self.levels.mild_and_hard
        papers = [
            compare(claim, other_alpha, sparsity) for sparsity in sparsities for other_alpha, claim in claims.items()
        ]
        return [*papers, *map(without_a_hand, sparsities)]
