"""How much may each pathway lose? (The paper's abstract, and its section on visual redundancy.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import TEXT, VISUAL, averages, counts, finish
from atv.api import Pathway

DENSE = Pathway("AllTokens", sparsity=0.0)


class VisualSparsity(Ablation):
    """One pathway is pruned, calibrated on its own modality; the other stays dense."""

    name = "visual_sparsity"
    question = "How much may the visual pathway lose, and how much the textual one?"
    paper = "abstract; visual redundancy"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"pathway": "none", "sparsity": 0.0})]
        for sparsity in self.levels.curve:
            visual = Pathway("VisualOnly", sparsity=sparsity)
            text = Pathway("TextOnly", sparsity=sparsity)
            grid.append(Cell({"pathway": "visual", "sparsity": sparsity}, {"text": DENSE, "visual": visual}, seed=seed))
            grid.append(Cell({"pathway": "text", "sparsity": sparsity}, {"text": text, "visual": DENSE}, seed=seed))
        return grid

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["sparsity"] in (*self._permitted, *self._parted)

    @property
    def _permitted(self) -> tuple[float, ...]:
        return self.levels.asked(0.5, self.levels.mild)

    @property
    def _parted(self) -> tuple[float, ...]:
        return self.levels.asked(0.6, self.levels.middle)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        dense = average[average["pathway"] == "none"]
        figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
        for pathway, color in {"text": TEXT, "visual": VISUAL}.items():
            rows = pd.concat([dense, average[average["pathway"] == pathway]]).sort_values("sparsity")
            percent = 100 * rows["sparsity"]
            axes.plot(percent, rows["retention"], "o-", color=color, linewidth=2)
            axes.fill_between(percent, rows["low"], rows["high"], color=color, alpha=0.18, linewidth=0)
            label = (percent.iloc[-1] + 2.5, rows["retention"].iloc[-1])
            axes.annotate(f"{pathway} pathway pruned", label, color=color, fontweight="bold", va="center")
        axes.axhline(100, color="0.6", linewidth=0.8, linestyle=":")
        axes.set(xlabel="sparsity of the pruned pathway (%)", ylabel="average retention over all tasks (%)")
        axes.set_xlim(-1, 100 * self.levels.curve[-1] + 40)
        axes.spines["bottom"].set_bounds(0, 100 * self.levels.curve[-1])
        axes.set_ylim(bottom=0)
        axes.set_xticks([0, *(round(100 * sparsity) for sparsity in self.levels.curve)])
        axes.set_title(f"One pathway pruned, the other dense ({counts(average)})", fontsize=9)
        finish(axes)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def permits(sparsity: float) -> Finding:
            visual = {"pathway": "visual", "sparsity": sparsity}
            return Finding(
                f"The visual pathway permits {percent(sparsity)} sparsity: it keeps more than 98%.",
                "99.37%" if sparsity == 0.5 else "no number",
                results.retention(**visual)["average"],
                "% of the dense score",
                bound=98.0,
                count=results.count(**visual),
                printed=99.37 if sparsity == 0.5 else None,
            )

        def parted(sparsity: float) -> Finding:
            visual, text = ({"pathway": pathway, "sparsity": sparsity} for pathway in ("visual", "text"))
            claim = f"At {percent(sparsity)} the visual pathway keeps more than the textual one."
            if sparsity != 0.6:
                return results.keeps_more(claim, visual, text)
            return results.keeps_more(claim, visual, text, "14.6 points (99.25% against 84.65%)", printed=14.6)

        return [*map(permits, self._permitted), *map(parted, self._parted)]
