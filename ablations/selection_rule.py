"""Which visual tokens should enter the pool? (The paper's Table 3.)"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import NO_NUMBER, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import averages, panels, sample_sizes
from atv.ablation.tables import with_visual_tokens
from atv.api import Pathway
from atv.selection import AMIA, AttentionTopK, DiversityTopK, DriftTopK, RandomVisual, TokenSelection

ADAPTIVE: dict[str, TokenSelection] = {
    "drift, adaptive": DriftTopK(),
    "attention, adaptive": AttentionTopK(),
    "diversity, adaptive": DiversityTopK(),
    "random, adaptive": RandomVisual(),
    "AMIA, its own count": AMIA(),
}
EQUAL = {"drift, equal K": DriftTopK, "random, equal K": RandomVisual}
# The paper's average retention at 50%.
PAPER = {
    "random, equal K": 97.50,
    "drift, equal K": 98.24,
    "drift, adaptive": 98.56,
    "attention, adaptive": 98.41,
    "diversity, adaptive": 98.14,
}
NOTE = "The paper's margins, 0.15 to 1.06 points, are narrower than these intervals."


class SelectionRule(Ablation):
    """All text tokens, and visual tokens by different rules: as many as ATV-Pruning takes, or AMIA's own number."""

    name = "selection_rule"
    question = "Which visual tokens should enter the calibration pool, and how many in which block?"
    paper = "Table 3"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        rules = [
            self._cell(name, rule, sparsity, seed)
            for sparsity in self.levels.mild_and_hard
            for name, rule in ADAPTIVE.items()
        ]
        return [Cell({"rule": "dense", "sparsity": 0.0}), *rules]

    def later(self, seed: int, results: Results) -> Sequence[Cell]:
        """Rules with the same K in every block, whose total is that of the adaptive run."""
        return [
            self._cell(name, rule_class(share=self._share(results, sparsity, seed)), sparsity, seed)
            for sparsity in self.levels.mild_and_hard
            for name, rule_class in EQUAL.items()
        ]

    def _cell(self, name: str, rule: TokenSelection, sparsity: float, seed: int) -> Cell:
        return Cell({"rule": name, "sparsity": sparsity}, {"both": Pathway(rule, sparsity)}, seed=seed)

    def _share(self, results: Results, sparsity: float, seed: int) -> float:
        """Ratio of visual to text tokens in the adaptive pool, over all blocks together."""
        drift_cells = results.of(rule="drift, adaptive", sparsity=sparsity)
        (report,) = (
            finished_cell.report
            for finished_cell in drift_cells
            if finished_cell.cell.seed == seed and finished_cell.report
        )
        pools = [block.selected["both"] for block in report.blocks]
        return sum(pool["visual"] for pool in pools) / sum(pool["text"] for pool in pools)

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["rule"] in PAPER

    def table(self, results: Results) -> pd.DataFrame:
        """The default table, plus the visual tokens selected per sample (mean over blocks)."""
        return with_visual_tokens(super().table(results), results)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        names = [name for name in [*ADAPTIVE, *EQUAL] if name in set(average["rule"])]
        titles = {sparsity: f"{percent(sparsity)} sparsity" for sparsity in self.levels.mild_and_hard}
        figure, _ = panels(average, by="sparsity", titles=titles, line="rule", names=names, size=(10, 3.8))
        figure.suptitle(sample_sizes(average), fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def drift_keeps_more(other_rule: str, sparsity: float) -> Finding:
            drift_labels, other_labels = (
                {"rule": rule, "sparsity": sparsity} for rule in ("drift, adaptive", other_rule)
            )
            printed = PAPER["drift, adaptive"] - PAPER[other_rule] if sparsity == 0.5 else None
            claim = f"Drift with an adaptive K keeps more than {other_rule} at {percent(sparsity)}."
            note = self.levels.bundled_note(NOTE)
            return results.keeps_more(claim, drift_labels, other_labels, paper=NO_NUMBER, printed=printed, note=note)

        other_rules = [rule for rule in PAPER if rule != "drift, adaptive"]
        return [
            drift_keeps_more(other_rule, sparsity)
            for sparsity in self.levels.mild_and_hard
            for other_rule in other_rules
        ]
