"""Which tokens should calibrate each pathway? (The paper's Table 1.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import DENSE_PATHWAY, NO_NUMBER, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import averages, interval_points, reference_line, sample_sizes
from atv.api import Pathway

SOURCES = {"text": "TextOnly", "visual": "VisualOnly", "mixed": "AllTokens"}
# The paper's average retention of the textual pathway, by sparsity and source; of the visual pathway, at 50%.
PAPER = {
    0.5: {"text": 98.26, "visual": 94.33, "mixed": 95.86},
    0.6: {"text": 84.65, "visual": 50.92, "mixed": 64.97},
}
PAPER_VISUAL = {"text": 100.27, "visual": 99.37, "mixed": 100.14}


class CalibrationSource(Ablation):
    """One pathway is pruned, calibrated on text, visual or all tokens; the other stays dense."""

    name = "calibration_source"
    question = "Which tokens should calibrate each pathway?"
    paper = "Table 1"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"pathway": "none", "calibration": "-", "sparsity": 0.0})]
        for sparsity in self.levels.compared:
            for pathway, other_pathway in (("text", "visual"), ("visual", "text")):
                for source, selection in SOURCES.items():
                    labels = {"pathway": pathway, "calibration": source, "sparsity": sparsity}
                    pruned = Pathway(selection, sparsity=sparsity)
                    grid.append(Cell(labels, {pathway: pruned, other_pathway: DENSE_PATHWAY}, seed=seed))
        return grid

    @property
    def _permitted_sparsities(self) -> tuple[float, ...]:
        """Sparsities at which the visual pathway is claimed to keep nearly everything, whatever calibrates it."""
        return self.levels.papers_and_own(0.5, self.levels.mild)

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["pathway"] == "text" or cell.labels["sparsity"] in self._permitted_sparsities

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        row_count = len(self.levels.compared)
        figure, panels = plt.subplots(
            row_count, 2, sharey=True, sharex="row", figsize=(9, 2.2 * row_count), layout="constrained", squeeze=False
        )
        for panel_row, sparsity in zip(panels, self.levels.compared, strict=True):
            for axes, pathway in zip(panel_row, ("text", "visual"), strict=True):
                rows = average[(average["pathway"] == pathway) & (average["sparsity"] == sparsity)]
                interval_points(axes, rows, list(SOURCES), "calibration")
                axes.set_title(f"{pathway} pathway at {percent(sparsity)}, the other dense", fontsize=9)
                reference_line(axes, x=100)
        for axes in panels[-1]:
            axes.set_xlabel("average retention (%)")
        figure.suptitle(f"Retention by the tokens that calibrate\n{sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        comparisons = [
            self._better(results, other_source, sparsity)
            for sparsity in self.levels.compared
            for other_source in ("visual", "mixed")
        ]
        return comparisons + [
            results.keeps_above(
                f"The visual pathway at {percent(sparsity)} keeps more than 98%, calibrated on {source}.",
                {"pathway": "visual", "calibration": source, "sparsity": sparsity},
                98.0,
                paper=NO_NUMBER,
                printed=printed if sparsity == 0.5 else None,
            )
            for sparsity in self._permitted_sparsities
            for source, printed in PAPER_VISUAL.items()
        ]

    def _better(self, results: Results, other_source: str, sparsity: float) -> Finding:
        note = "The bundled model loses hardly anything at 50%, whatever calibrates it."
        paper_retention = PAPER.get(sparsity)
        printed = paper_retention["text"] - paper_retention[other_source] if paper_retention else None
        text_labels, other_labels = (
            {"pathway": "text", "calibration": source, "sparsity": sparsity} for source in ("text", other_source)
        )
        claim = (
            f"The textual pathway at {percent(sparsity)} keeps more calibrated on text than on {other_source} tokens."
        )
        note = self.levels.bundled_note(note) if sparsity == 0.5 else ""
        return results.keeps_more(claim, text_labels, other_labels, paper=NO_NUMBER, printed=printed, note=note)
