"""Which tokens should calibrate each pathway? (The paper's Table 1.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation.base import Ablation
from atv.ablation.cell import Cell
from atv.ablation.charts import averages, counts, points
from atv.ablation.findings import Finding
from atv.ablation.results import Results
from atv.api import Pathway

SOURCES = {"text": "TextOnly", "visual": "VisualOnly", "mixed": "AllTokens"}
SPARSITIES = (0.5, 0.6, 0.7)
DENSE = Pathway("AllTokens", sparsity=0.0)
# The paper's averages: (pathway, source) -> retention at 50% and 60%.
PAPER = {("text", "text"): (98.26, 84.65), ("text", "visual"): (94.33, 50.92), ("text", "mixed"): (95.86, 64.97)}


class CalibrationSource(Ablation):
    """One pathway is pruned, calibrated on text, visual or all tokens; the other stays dense."""

    name = "calibration_source"
    question = "Which tokens should calibrate each pathway?"
    paper = "Table 1"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"pathway": "none", "calibration": "-", "sparsity": 0.0})]
        for sparsity in SPARSITIES:
            for pathway, other in (("text", "visual"), ("visual", "text")):
                for source, selection in SOURCES.items():
                    labels = {"pathway": pathway, "calibration": source, "sparsity": sparsity}
                    pruned = Pathway(selection, sparsity=sparsity)
                    grid.append(Cell(labels, {pathway: pruned, other: DENSE}, seed=seed))
        return grid

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["pathway"] == "text" or cell.labels["sparsity"] == 0.5

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        lines = len(SPARSITIES)
        figure, panels = plt.subplots(
            lines, 2, sharey=True, sharex="row", figsize=(9, 2.2 * lines), layout="constrained"
        )
        for line, sparsity in zip(panels, SPARSITIES, strict=True):
            for axes, pathway in zip(line, ("text", "visual"), strict=True):
                rows = average[(average["pathway"] == pathway) & (average["sparsity"] == sparsity)]
                points(axes, rows, list(SOURCES), "calibration")
                axes.set_title(f"{pathway} pathway at {sparsity:.0%}, the other dense", fontsize=9)
                axes.axvline(100, color="0.6", linewidth=0.8, linestyle=":")
        for axes in panels[-1]:
            axes.set_xlabel("average retention (%)")
        figure.suptitle(f"Retention by the tokens that calibrate\n{counts(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        sources = [
            self._better(results, other, sparsity, paper)
            for sparsity, column in ((0.5, 0), (0.6, 1), (0.7, None))
            for other in ("visual", "mixed")
            for paper in ("no number" if column is None else f"{_margin(other, column):.2f} points",)
        ]
        return sources + [
            Finding(
                f"The visual pathway at 50% keeps more than 98%, calibrated on {source}.",
                f"{printed}%",
                results.retention(pathway="visual", calibration=source, sparsity=0.5)["average"],
                "% of the dense score",
                bound=98.0,
                count=results.count(pathway="visual", calibration=source, sparsity=0.5),
            )
            for source, printed in (("text", 100.27), ("visual", 99.37), ("mixed", 100.14))
        ]

    def _better(self, results: Results, other: str, sparsity: float, paper: str) -> Finding:
        one, two = ({"pathway": "text", "calibration": own, "sparsity": sparsity} for own in ("text", other))
        return Finding(
            f"The textual pathway at {sparsity:.0%} keeps more calibrated on text than on {other} tokens.",
            paper,
            results.difference(one, two),
            "points of retention",
            count=results.count(**one),
            note="The bundled model loses hardly anything at 50%, whatever calibrates it." if sparsity == 0.5 else "",
        )


def _margin(other: str, column: int) -> float:
    return PAPER["text", "text"][column] - PAPER["text", other][column]
