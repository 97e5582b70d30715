"""Every method at several sparsities, 2:4 and 4:8, all else equal. (The paper's Tables 2 and A5.)"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import NO_NUMBER, Ablation, Cell, Finding, Results
from atv.ablation.charts import averages, panels, reference_line, sample_sizes
from atv.api import Pathway

METHODS: dict[str, dict[str, Any]] = {
    "Magnitude": {"selection": "AllTokens", "criterion": "Magnitude"},
    "Wanda": {"selection": "AllTokens"},
    "RIA": {"selection": "AllTokens", "criterion": "RIA"},
    "SparseGPT": {"selection": "AllTokens", "criterion": "SparseGPT"},
    "text only": {"selection": "TextOnly"},
    "random": {"selection": "RandomVisual"},
    "attention": {"selection": "AttentionTopK"},
    "diversity": {"selection": "DiversityTopK"},
    "AMIA": {"selection": "AMIA"},
    "ATV": {"selection": "DriftTopK"},
    "ATV, SparseGPT": {"selection": "DriftTopK", "criterion": "SparseGPT"},
}
# These allocate sparsity between Linears; a fixed N:M pattern leaves them nothing to allocate.
ALLOCATED: dict[str, dict[str, Any]] = {
    "OWL": {"selection": "AllTokens", "allocation": "OWL"},
    "DLP": {"selection": "AllTokens", "allocation": "DLP"},
    "TAMP": {"selection": "AMIA", "allocation": "DAS"},
}
# Published after the paper. They follow the rest of the grid, so that tables of earlier runs remain its beginning.
NEWER: dict[str, dict[str, Any]] = {
    "ADMM": {"selection": "AllTokens", "criterion": "ADMM"},
    "ALPS": {"selection": "AllTokens", "criterion": "ALPS"},
    "SparseSwaps": {"selection": "AllTokens", "refine": "SparseSwaps"},
    "DSnoT": {"selection": "AllTokens", "refine": "DSnoT"},
    "least squares": {"selection": "AllTokens", "reconstruct": "LeastSquares"},
    "ATV, least squares": {"selection": "DriftTopK", "reconstruct": "LeastSquares"},
    "AlphaPruning": {"selection": "AllTokens", "allocation": "AlphaPruning"},
}
# Token weights that a run finds itself, and methods that learn from a block's outputs; again at the end.
MEASURED: dict[str, dict[str, Any]] = {
    "balanced pools": {"selection": "BalancedPools"},
    "MBQ's weights, SparseGPT": {"selection": "GradientRatio", "criterion": "SparseGPT"},
    "VLMQ's weights, SparseGPT": {"selection": "TokenSensitivity", "criterion": "SparseGPT"},
    "Wanda++": {"selection": "AllTokens", "criterion": "WandaPlusPlus"},
    "Wanda, blocks trained": {"selection": "AllTokens", "reconstruct": "BlockReconstruction"},
}
# The paper's average retention of LLaVA-NeXT 8B at 50%, 60%, 2:4, 4:8.
PAPER = {
    "SparseGPT": (91.74, 76.24, 70.86, 82.57),
    "Wanda": (88.36, 64.45, 72.62, 81.52),
    "AMIA": (92.67, 73.75, 74.90, 83.57),
    "ATV": (94.00, 77.01, 76.29, 85.54),
}
PAPER_SETTINGS = ("50%", "60%", "2:4", "4:8")


class MainResults(Ablation):
    """Every method on the whole decoder, with Wanda's pool unless the method has its own."""

    name = "main_results"
    question = "What does each method keep?"
    paper = "Tables 2 and A5"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        return [Cell({"method": "dense", "setting": "0%"})] + [
            Cell({"method": method, "setting": setting}, {"both": Pathway(**rules, **options)}, seed=seed)
            for methods in (METHODS | ALLOCATED, NEWER, MEASURED)
            for setting, options in self.levels.settings.items()
            for method, rules in methods.items()
            if not ("pattern" in options and "allocation" in rules)
        ]

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["method"] in PAPER

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average, settings = averages(table), list(self.levels.settings)
        names, size = [*METHODS, *ALLOCATED, *NEWER, *MEASURED], (2.8 * len(settings), 6)
        figure, all_axes = panels(average, by="setting", titles=settings, line="method", names=names, size=size)
        for axes in all_axes:
            reference_line(axes, x=100)
        figure.suptitle(f"Whole decoder pruned, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def beats(other_method: str, setting: str) -> Finding:
            atv_labels, other_labels = ({"method": method, "setting": setting} for method in ("ATV", other_method))
            claim = f"ATV-Pruning keeps more than {other_method} at {setting}."
            return results.keeps_more(
                claim, atv_labels, other_labels, paper=NO_NUMBER, printed=_papers_difference(other_method, setting)
            )

        return [
            beats(other_method, setting)
            for setting in self.levels.settings
            for other_method in PAPER
            if other_method != "ATV"
        ]


def _papers_difference(other_method: str, setting: str) -> float | None:
    """By how many points ATV-Pruning keeps more in the paper; None if the paper does not report the setting."""
    if setting not in PAPER_SETTINGS:
        return None
    column = PAPER_SETTINGS.index(setting)
    return PAPER["ATV"][column] - PAPER[other_method][column]
