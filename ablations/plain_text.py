"""Does plain text in the calibration data preserve a model's language, and what does it cost in the tasks?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Labels, Results
from atv.ablation.charts import averages, panels, sample_sizes
from atv.api import Pathway
from atv.bundled import BUNDLED
from atv.data import BundledScenes, CalibrationData, EverydayProse, Mixture

# Two methods that only mask weights, and two that also update the kept weights.
METHODS: Mapping[str, dict[str, Any]] = {
    "Wanda": {"selection": "AllTokens"},
    "ATV": {"selection": "DriftTopK"},
    "SparseGPT": {"selection": "AllTokens", "criterion": "SparseGPT"},
    "ADMM": {"selection": "DriftTopK", "criterion": "ADMM"},
}
# Ratio of the model's own samples to text samples.
SHARES: Mapping[str, list[float] | None] = {"none": None, "a quarter": [3, 1], "half": [1, 1]}
WITHOUT, WITH = "none", "a quarter"
# Points of retention on the tasks that text may cost.
WORTH = 5.0


class PlainText(Ablation):
    """Four methods, calibrated on the model's own conversations with pictures, or with plain text replacing a share.

    The text is prose, or facts for the bundled model, which knows no other text.
    """

    name = "plain_text"
    question = "Does plain text among the calibration data keep a model's language, and at what cost?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell(_labels("dense", "-", "0%"))]
        for setting, options in self._settings.items():
            for method, rules in METHODS.items():
                pruned = {"both": Pathway(**rules, **options)}
                for share in SHARES:
                    labels = _labels(method, share, setting)
                    grid.append(Cell(labels, pruned, seed=seed, calibration=self._data(share)))
        return grid

    @property
    def _settings(self) -> dict[str, dict[str, Any]]:
        """The two highest sparsities and the N:M patterns."""
        return self.levels.settings_at(self.levels.middle_and_hard)

    def _data(self, share: str) -> CalibrationData | None:
        text = BundledScenes("facts") if self.levels.model == BUNDLED else EverydayProse()
        return Mixture([self.calibration_data, text], SHARES[share]) if SHARES[share] else None

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["text"] in (WITHOUT, WITH)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table).assign(line=lambda rows: rows["method"] + ", text: " + rows["text"])
        lines = [f"{method}, text: {share}" for method in METHODS for share in SHARES]
        size = (2.2 + 2.4 * len(self._settings), 4.2)
        figure, _ = panels(average, by="setting", titles=list(self._settings), line="line", names=lines, size=size)
        figure.suptitle(f"By the share of plain text among the calibration data, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        return [
            finding
            for setting in self._settings
            for finding in (
                *(_with_text(results, method, setting) for method in METHODS if results.reads),
                *(_cost(results, method, setting) for method in METHODS),
                *(
                    rival_finding
                    for rival in ("ATV", "SparseGPT")
                    for rival_finding in _admm_keeps_more(results, rival, setting)
                ),
            )
        ]


def _labels(method: str, text: str, setting: str) -> Labels:
    return {"method": method, "text": text, "setting": setting}


def _with_text(results: Results, method: str, setting: str) -> Finding:
    claim = f"At {setting}, {method} keeps more of plain English with {WITH} of plain text in its calibration data."
    return results.keeps_more_english(claim, _labels(method, WITH, setting), _labels(method, WITHOUT, setting))


def _cost(results: Results, method: str, setting: str) -> Finding:
    with_text, without_text = (_labels(method, share, setting) for share in (WITH, WITHOUT))
    claim = f"At {setting}, {WITH} of plain text costs {method} less than {WORTH:g} points of the tasks."
    return results.keeps_as_much(claim, with_text, without_text, within=WORTH)


def _admm_keeps_more(results: Results, rival: str, setting: str) -> list[Finding]:
    """Findings that ADMM keeps more than ``rival``, both with plain text."""
    admm_labels, rival_labels = (_labels(method, WITH, setting) for method in ("ADMM", rival))
    start, end = f"At {setting}, both with {WITH} of plain text, ADMM keeps more of", f"than {rival}."
    findings = [results.keeps_more(f"{start} the tasks {end}", admm_labels, rival_labels)]
    if results.reads:
        findings.append(results.keeps_more_english(f"{start} plain English {end}", admm_labels, rival_labels))
    return findings
