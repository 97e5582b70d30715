"""Do new values for the kept weights retain more, and which tokens should determine them?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import PALETTE, averages, panels, sample_sizes
from atv.api import Pathway

UPDATES: Mapping[str, dict[str, Any]] = {
    "no update": {},
    "least squares": {"reconstruct": "LeastSquares"},
    "SparseGPT": {"criterion": "SparseGPT"},
}
POOLS = {"all tokens": "AllTokens", "ATV": "DriftTopK", "text": "TextOnly"}


class WeightUpdate(Ablation):
    """Wanda's mask with the old weights or their least-squares values, and SparseGPT, each calibrated on three pools.

    SparseGPT chooses and updates weights in turns. The pools are all tokens, ATV's pool and text alone.
    """

    name = "weight_update"
    question = "Do new values for the kept weights keep more, and of which tokens should they be made?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"update": "dense", "pool": "-"})]
        for update, rules in UPDATES.items():
            for pool, selection in POOLS.items():
                pathway = Pathway(selection, self.levels.hard, **rules)
                grid.append(Cell({"update": update, "pool": pool}, {"both": pathway}, seed=seed))
        return grid

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        figure, _ = panels(
            average, by="update", titles=list(UPDATES), line="pool", names=list(POOLS), size=(10, 2.8), colors=PALETTE
        )
        figure.suptitle(f"{percent(self.levels.hard)}, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def compare(variant: tuple[str, str], other_variant: tuple[str, str]) -> list[Finding]:
            """Findings that the first (update, pool) keeps more than the second."""
            labels, other_labels = ({"update": update, "pool": pool} for update, pool in (variant, other_variant))
            names = [f"{update} on {pool}" for update, pool in (variant, other_variant)]
            findings = [results.keeps_more(f"{names[0]} keeps more than {names[1]}.", labels, other_labels)]
            if results.reads:
                claim = f"{names[0]} keeps more of plain English than {names[1]}."
                findings.append(results.keeps_more_english(claim, labels, other_labels))
            return findings

        pairs = (
            (("least squares", "ATV"), ("no update", "ATV")),
            (("SparseGPT", "ATV"), ("no update", "ATV")),
            (("SparseGPT", "ATV"), ("SparseGPT", "all tokens")),
            (("SparseGPT", "text"), ("SparseGPT", "all tokens")),
            (("SparseGPT", "ATV"), ("least squares", "ATV")),
        )
        return [finding for pair in pairs for finding in compare(*pair)]
