"""Which experts are removed first? (Users report that text calibration removes the experts that pictures need.)"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from atv.ablation import Ablation, Cell, Finding, Labels, Results, percent
from atv.ablation.charts import PALETTE, averages, panels, sample_sizes
from atv.ablation.store import FinishedCell
from atv.api import Pathway
from atv.statistics.estimates import Estimate, mean_estimate

POOLS = {"text": "TextOnly", "visual": "VisualOnly", "all": "AllTokens", "ATV": "DriftTopK"}
SHARES = (0.25, 0.5)
Counts = NDArray[np.float64]


class ExpertModality(Ablation):
    """Removes a share of each layer's experts: those that add least to the tokens of a pool (REAP).

    The model must be a mixture of experts. ``make mixture`` trains a small one; ``--model`` names it or another.
    """

    name = "expert_modality"
    question = "Whose experts go first, by the tokens that calibrate?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        dense = Cell({"pool": "none", "gone": 0.0})
        routed = [self._cell(pool, 0.0, seed, asked=False) for pool in ("text", "visual")]
        return [dense, *routed, *(self._cell(pool, share, seed) for share in SHARES for pool in POOLS)]

    def _cell(self, pool: str, share: float, seed: int, asked: bool = True) -> Cell:
        pathway = Pathway(POOLS[pool], share, criterion="REAP", pattern="WholeExperts")
        return Cell(_labels(pool, share), {"both": pathway}, seed=seed, asked=asked)

    def table(self, results: Results) -> pd.DataFrame:
        asked_results = Results([finished_cell for finished_cell in results.finished if finished_cell.cell.asked])
        return super().table(asked_results)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average, titles = averages(table), {share: f"{percent(share)} of the experts gone" for share in SHARES}
        figure, _ = panels(
            average, by="gone", titles=titles, line="pool", names=list(POOLS), size=(9, 2.8), colors=PALETTE
        )
        figure.suptitle(f"Experts go by a pool's tokens, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        return [
            finding
            for share in SHARES
            for finding in (_pictures_first(results, share), *_all_tokens_keep_more(results, share))
        ]


def _pictures_first(results: Results, share: float) -> Finding:
    return Finding(
        f"Calibrated on text, the {percent(share)} of the experts that go have a greater share of visual tokens than "
        "those that stay.",
        "",
        _more_visual(results, share),
        "points of visual tokens among an expert's",
        count=results.seeds(**_labels("text", 0.0)),
    )


def _all_tokens_keep_more(results: Results, share: float) -> Sequence[Finding]:
    return [
        results.keeps_more(
            f"Without {percent(share)} of its experts it keeps more calibrated on all tokens than on {pool} alone.",
            _labels("all", share),
            _labels(pool, share),
        )
        for pool in ("text", "visual")
    ]


def _labels(pool: str, share: float) -> Labels:
    return {"pool": pool, "gone": share}


def _more_visual(results: Results, share: float) -> Estimate:
    """By how many points the visual share of removed experts' tokens exceeds that of kept ones, mean over layers.

    The interval is Student's t over seeds.
    """
    by_seed = []
    routed_seeds = [
        {finished_cell.cell.seed for finished_cell in results.of(**_labels(pool, 0.0))} for pool in ("text", "visual")
    ]
    for pruned in results.of(**_labels("text", share)):
        # Further seeds may have run only the cells that ask questions, if verdicts needed no more.
        if not all(pruned.cell.seed in seeds for seeds in routed_seeds):
            continue
        text, visual = (_routed_tokens(results, pool, pruned.cell.seed) for pool in ("text", "visual"))
        differences = []
        for layer, removed in _removed_experts(pruned).items():
            visual_share = 100 * visual[layer] / np.maximum(text[layer] + visual[layer], 1)
            differences.append(visual_share[removed].mean() - visual_share[~removed].mean())
        by_seed.append(float(np.mean(differences)))
    return mean_estimate(by_seed)


def _routed_tokens(results: Results, pool: str, seed: int) -> dict[str, Counts]:
    """For each layer, how many of the pool's tokens the dense model routes to each expert, (experts,)."""
    (dense_cell,) = (
        finished_cell for finished_cell in results.of(**_labels(pool, 0.0)) if finished_cell.cell.seed == seed
    )
    assert dense_cell.report is not None
    layers = [block.experts["both"] for block in dense_cell.report.blocks]
    return {name: np.array(experts["tokens"], float) for layer in layers for name, experts in layer.items()}


def _removed_experts(pruned: FinishedCell) -> dict[str, NDArray[np.bool_]]:
    """For each layer, which experts were removed, bool (experts,)."""
    stays_by_layer: dict[str, dict[int, bool]] = {}
    for name, mask in pruned.masks().items():
        layer, expert, _ = name.rsplit(".", 2)
        stays_by_layer.setdefault(layer, {})[int(expert)] = bool(mask.any())
    return {
        layer: np.array([not expert_stays[index] for index in sorted(expert_stays)])
        for layer, expert_stays in stays_by_layer.items()
    }
