"""How far does each block move the visual tokens, and how many does it select? (The paper's Figure A6.)"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Results
from atv.ablation.charts import TEXT, VISUAL, finish
from atv.api import Pathway
from atv.records.pruning_report import PruningReport
from atv.statistics.estimates import mean_estimate


class DriftProfile(Ablation):
    """ATV-Pruning's drift and K in each block, at 50% as in the paper or the nearest sparsity; asks no questions."""

    name = "drift_profile"
    question = "How far does each block move the visual tokens, and how many does it select?"
    paper = "Figure A6"
    seeds = 5
    caption = (
        "Mean drift over all visual tokens, and visual tokens selected a sample; means over seeds (calibration samples "
        "drawn anew), with the least and the greatest."
    )

    def cells(self, seed: int) -> Sequence[Cell]:
        return [Cell({"pool": "ATV"}, {"both": Pathway("DriftTopK", self.levels.nearest(0.5))}, seed=seed, asked=False)]

    def table(self, results: Results) -> pd.DataFrame:
        drift, selected = _drifts(results), _selected(results)
        return pd.DataFrame(
            {
                "block": range(drift.shape[1]),
                "drift": drift.mean(0),
                "drift lowest": drift.min(0),
                "drift highest": drift.max(0),
                "K": selected.mean(0),
                "K lowest": selected.min(0),
                "K highest": selected.max(0),
                "seeds": len(drift),
            }
        )

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        names = {"drift": "mean drift of visual tokens", "K": "visual tokens selected a sample (K)"}
        for axes, (name, label), color in zip(panels, names.items(), (VISUAL, TEXT), strict=True):
            spread = [table[name] - table[f"{name} lowest"], table[f"{name} highest"] - table[name]]
            axes.errorbar(table["block"], table[name], yerr=spread, fmt="o-", color=color, capsize=3)
            axes.set(xlabel="decoder block", ylabel=label, xticks=table["block"])
            axes.set_ylim(bottom=0)
            finish(axes)
        figure.suptitle(f"{int(table['seeds'].iloc[0])} seeds, bars from the least to the greatest", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        drift = _drifts(results)
        third = max(drift.shape[1] // 3, 1)
        late = drift[:, -third:].mean(1) - drift[:, :third].mean(1)
        return (
            Finding(
                "The last third of the blocks moves the visual tokens further than the first third.",
                "so, no number",
                mean_estimate(late),
                "mean drift",
                count=f"{len(drift)} seeds, {drift.shape[1]} blocks",
                note="The paper's models have 28 to 32 blocks; few blocks leave little room between early and late.",
            ),
        )


def _drifts(results: Results) -> np.ndarray:
    """Mean drift of the visual tokens, (seeds, blocks)."""
    return np.array([[block.mean_drift for block in report.blocks] for report in _reports(results)])


def _selected(results: Results) -> np.ndarray:
    """Mean number of visual tokens selected per sample, (seeds, blocks)."""
    samples = [finished_cell.record.samples for finished_cell in results.finished]
    return np.array(
        [
            [block.selected["both"]["visual"] / sample_count for block in report.blocks]
            for sample_count, report in zip(samples, _reports(results), strict=True)
        ]
    )


def _reports(results: Results) -> list[PruningReport]:
    return [finished_cell.report for finished_cell in results.finished if finished_cell.report]
