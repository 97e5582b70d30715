"""Every method at 50%, 60%, 2:4 and 4:8, all else equal. (The paper's Tables 2 and A5.)"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation.base import Ablation
from atv.ablation.cell import Cell
from atv.api import Pathway

SETTINGS: dict[str, dict[str, Any]] = {
    "50%": {"sparsity": 0.5},
    "60%": {"sparsity": 0.6},
    "2:4": {"pattern": "2:4"},
    "4:8": {"pattern": "4:8"},
}
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
# A fixed N:M leaves these nothing to share out.
ALLOCATED: dict[str, dict[str, Any]] = {
    "OWL": {"selection": "AllTokens", "allocation": "OWL"},
    "DLP": {"selection": "AllTokens", "allocation": "DLP"},
    "TAMP": {"selection": "AMIA", "allocation": "DAS"},
}


class MainResults(Ablation):
    """The whole decoder pruned; Wanda's pool unless the method has its own."""

    name = "main_results"
    question = "What does each method keep?"

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"method": "dense", "setting": "0%"})]
        for setting, options in SETTINGS.items():
            methods = METHODS if "pattern" in options else METHODS | ALLOCATED
            for method, parts in methods.items():
                pathway = Pathway(**parts, **options)
                grid.append(Cell({"method": method, "setting": setting}, {"both": pathway}, seed=seed))
        return grid

    def figure(self, table: pd.DataFrame) -> Figure:
        average = table[(table["task"] == "average") & (table["method"] != "dense")]
        figure, panels = plt.subplots(1, len(SETTINGS), figsize=(12, 4.6), sharey=True, layout="constrained")
        for axes, setting in zip(panels, SETTINGS, strict=True):
            rows = average[average["setting"] == setting].set_index("method")
            rows = rows.reindex([*METHODS, *ALLOCATED][::-1])
            spread = [rows["retention"] - rows["low"], rows["high"] - rows["retention"]]
            axes.errorbar(rows["retention"], rows.index, xerr=spread, fmt="o", color="#1d4ed8", capsize=3)
            axes.axvline(100, color="0.6", linewidth=0.8, linestyle=":")
            axes.set(title=setting, xlabel="average retention (%)")
            axes.spines[["top", "right"]].set_visible(False)
        questions = int(average["questions"].iloc[0])
        figure.suptitle(f"Whole decoder pruned, {questions} questions a point, 95% intervals", fontsize=10)
        return figure
