"""Does what one model shows carry over to another? A few cells of the other ablations in one small grid."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import DENSE_PATHWAY, NO_NUMBER, Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import averages, panels, reference_line, sample_sizes
from atv.api import Pathway
from atv.patterns import NOfM

METHODS: dict[str, dict[str, Any]] = {
    "Magnitude": {"selection": "AllTokens", "criterion": "Magnitude"},
    "Wanda": {"selection": "AllTokens"},
    "RIA": {"selection": "AllTokens", "criterion": "RIA"},
    "SparseGPT": {"selection": "AllTokens", "criterion": "SparseGPT"},
    "AMIA": {"selection": "AMIA"},
    "text only": {"selection": "TextOnly"},
    "ATV": {"selection": "DriftTopK"},
}
# Methods that a fixed N:M pattern leaves no room for, and the other rules for visual tokens.
SHARES_ONLY: dict[str, dict[str, Any]] = {
    "TAMP": {"selection": "AMIA", "allocation": "DAS"},
    "PerBlock, ATV": {"selection": "DriftTopK", "pattern": "PerBlock"},
    "attention": {"selection": "AttentionTopK"},
    "diversity": {"selection": "DiversityTopK"},
    "random": {"selection": "RandomVisual"},
}
# Methods for the milder sparsities and patterns, at which methods differ little.
FEW = ("Wanda", "SparseGPT", "text only", "ATV")
# By how many points ATV keeps more in the paper, on LLaVA-NeXT 8B.
PAPER = {
    "50%": {"Wanda": 5.64, "SparseGPT": 2.26, "AMIA": 1.33},
    "60%": {"Wanda": 12.56, "SparseGPT": 0.77, "AMIA": 3.26},
    "2:4": {"Wanda": 3.67, "SparseGPT": 5.43, "AMIA": 1.39},
    "4:8": {"Wanda": 4.02, "SparseGPT": 2.97, "AMIA": 1.97},
}
# By how many points pruning only the visual pathway keeps more than pruning only the textual one.
PAPER_PARTED = {"50%": 1.11, "60%": 14.60}
# Pairs for which the paper claims an order without a number (NO_NUMBER), or says nothing (empty).
UNPRINTED = {("ATV", "text only"): NO_NUMBER, ("Wanda", "Magnitude"): "", ("PerBlock, ATV", "ATV"): ""}


class Comparison(NamedTuple):
    """The claim that ``one`` keeps more than ``other``, with the paper's points or what it says instead of a number."""

    one: str
    other: str
    setting: str
    printed: float | None = None
    paper: str = NO_NUMBER


class Pilot(Ablation):
    """Each pathway alone; every method at the two highest sparsities, fewer at milder ones; N:M patterns.

    There are at most 60 cells per seed.
    """

    name = "pilot"
    question = "Does what one model shows carry over to another?"
    paper = "parts of Tables 1, 2 and 3"

    def cells(self, seed: int) -> Sequence[Cell]:
        pathways = [
            cell
            for sparsity in self.levels.compared
            for cell in (
                self._one_pathway_cell("visual", "text", "VisualOnly", sparsity, seed),
                self._one_pathway_cell("text", "visual", "TextOnly", sparsity, seed),
            )
        ]
        whole_decoder = [
            Cell({"method": method, "setting": setting}, {"both": Pathway(**rules, **options)}, seed=seed)
            for setting, options in self.levels.settings.items()
            for method, rules in self._methods(setting).items()
        ]
        return [Cell({"method": "dense", "setting": "0%"}), *pathways, *whole_decoder]

    def _one_pathway_cell(
        self, pruned_pathway: str, dense_pathway: str, selection: str, sparsity: float, seed: int
    ) -> Cell:
        labels = {"method": f"{pruned_pathway} pathway", "setting": percent(sparsity)}
        return Cell(labels, {pruned_pathway: Pathway(selection, sparsity), dense_pathway: DENSE_PATHWAY}, seed=seed)

    def _methods(self, setting: str) -> dict[str, dict[str, Any]]:
        """All methods at settings where differences are expected, a few at others."""
        if setting in map(percent, self.levels.middle_and_hard):
            return METHODS | SHARES_ONLY
        return METHODS if setting in self._half_patterns else {name: METHODS[name] for name in FEW}

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average, settings = averages(table), list(self.levels.settings)
        size = (max(6.4, 2.4 * len(settings)), 4.8)
        names = ["visual pathway", "text pathway", *METHODS, *SHARES_ONLY]
        figure, all_axes = panels(average, by="setting", titles=settings, line="method", names=names, size=size)
        for axes in all_axes:
            reference_line(axes, x=100)
        figure.suptitle(f"One pathway alone, or the whole decoder, pruned;\n{sample_sizes(average)}", fontsize=10)
        return figure

    def claimed(self, cell: Cell) -> bool:
        compared = {
            (method, comparison.setting)
            for comparison in self._comparisons()
            for method in (comparison.one, comparison.other)
        }
        return (cell.labels["method"], cell.labels["setting"]) in compared

    def findings(self, results: Results) -> Sequence[Finding]:
        return [
            results.keeps_more(
                f"At {comparison.setting}, {comparison.one!r} keeps more than {comparison.other!r}.",
                {"method": comparison.one, "setting": comparison.setting},
                {"method": comparison.other, "setting": comparison.setting},
                paper=comparison.paper,
                printed=comparison.printed,
            )
            for comparison in self._comparisons()
        ]

    def _comparisons(self) -> Sequence[Comparison]:
        shares = [percent(sparsity) for sparsity in self.levels.middle_and_hard]
        printed = [
            Comparison("ATV", other_method, setting, PAPER.get(setting, {}).get(other_method))
            for setting in (*shares, *self._half_patterns)
            for other_method in ("Wanda", "SparseGPT", "AMIA")
        ]
        unprinted = [
            Comparison(*methods, setting, paper=paper) for setting in shares for methods, paper in UNPRINTED.items()
        ]
        pathways = [
            Comparison("visual pathway", "text pathway", setting, PAPER_PARTED.get(setting)) for setting in shares
        ]
        return [*printed, *unprinted, *pathways]

    @property
    def _half_patterns(self) -> list[str]:
        """Patterns that remove at least half of the weights."""
        return [pattern for pattern in self.levels.patterns if NOfM.parse(pattern).sparsity >= 0.5]
