"""How much may each pathway lose? (The paper's abstract, and its section on visual redundancy.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import DENSE_PATHWAY, NO_NUMBER, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import TEXT, VISUAL, averages, curve, reference_line, sample_sizes
from atv.api import Pathway


class VisualSparsity(Ablation):
    """One pathway is pruned, calibrated on its own modality; the other stays dense."""

    name = "visual_sparsity"
    question = "How much may the visual pathway lose, and how much the textual one?"
    paper = "abstract; visual redundancy"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"pathway": "none", "sparsity": 0.0})]
        for sparsity in self.levels.curve:
            visual = {"text": DENSE_PATHWAY, "visual": Pathway("VisualOnly", sparsity)}
            text = {"text": Pathway("TextOnly", sparsity), "visual": DENSE_PATHWAY}
            grid.append(Cell({"pathway": "visual", "sparsity": sparsity}, visual, seed=seed))
            grid.append(Cell({"pathway": "text", "sparsity": sparsity}, text, seed=seed))
        return grid

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["sparsity"] in (*self._permitted_sparsities, *self._compared_sparsities)

    @property
    def _permitted_sparsities(self) -> tuple[float, ...]:
        """Sparsities that the visual pathway is claimed to permit."""
        return self.levels.papers_and_own(0.5, self.levels.mild)

    @property
    def _compared_sparsities(self) -> tuple[float, ...]:
        """Sparsities at which the visual pathway is claimed to keep more than the textual one."""
        return self.levels.papers_and_own(0.6, self.levels.middle)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
        for pathway, color in {"text": TEXT, "visual": VISUAL}.items():
            rows = average[average["pathway"].isin(("none", pathway))].sort_values("sparsity")
            name = f"{pathway} pathway pruned"
            curve(axes, 100 * rows["sparsity"], rows, name, color)
            end = (100 * rows["sparsity"].iloc[-1] + 2.5, rows["retention"].iloc[-1])
            axes.annotate(name, end, color=color, fontweight="bold", va="center")
        reference_line(axes, y=100)
        axes.set(xlabel="sparsity of the pruned pathway (%)", ylabel="average retention over all tasks (%)")
        axes.set_xlim(-1, 100 * self.levels.curve[-1] + 40)
        axes.spines["bottom"].set_bounds(0, 100 * self.levels.curve[-1])
        axes.set_ylim(bottom=0)
        axes.set_xticks([0, *(round(100 * sparsity) for sparsity in self.levels.curve)])
        axes.set_title(f"One pathway pruned, the other dense ({sample_sizes(average)})", fontsize=9)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def permits(sparsity: float) -> Finding:
            claim = f"The visual pathway permits {percent(sparsity)} sparsity: it keeps more than 98%."
            visual = {"pathway": "visual", "sparsity": sparsity}
            printed = 99.37 if sparsity == 0.5 else None
            return results.keeps_above(claim, visual, 98.0, paper=NO_NUMBER, printed=printed)

        def keeps_more(sparsity: float) -> Finding:
            visual, text = ({"pathway": pathway, "sparsity": sparsity} for pathway in ("visual", "text"))
            claim = f"At {percent(sparsity)} the visual pathway keeps more than the textual one."
            if sparsity != 0.6:
                return results.keeps_more(claim, visual, text, paper=NO_NUMBER)
            return results.keeps_more(claim, visual, text, paper="14.6 points (99.25% against 84.65%)", printed=14.6)

        return [*map(permits, self._permitted_sparsities), *map(keeps_more, self._compared_sparsities)]
