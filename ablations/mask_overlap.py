"""Do text and visual tokens want the same weights? (The paper's Figure 1b.)"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import NO_NUMBER, SUITED, Ablation, Cell, Finding, Levels, Results, percent
from atv.api import Pathway
from atv.bundled import BUNDLED
from atv.figures import overlap_heatmap
from atv.records.masks import overlap, random_overlap
from atv.statistics.estimates import mean_estimate

# Number of the paper's 224 Linears per IoU bin: from .60, in steps of .05.
PAPER_HISTOGRAM = (1, 7, 17, 18, 27, 32, 120, 2)
PAPER_MEAN = sum(count * (0.625 + 0.05 * step) for step, count in enumerate(PAPER_HISTOGRAM)) / sum(PAPER_HISTOGRAM)


class MaskOverlap(Ablation):
    """Intersection over union, per Linear, of masks from visual-only and text-only calibration; asks no questions."""

    name = "mask_overlap"
    question = "Do the textual and the visual pathway want the same weights?"
    paper = "Figure 1b"
    seeds = 3

    def __init__(self, levels: Levels = SUITED[BUNDLED]) -> None:
        super().__init__(levels)
        self.sparsity = levels.nearest(0.5)
        self.random = random_overlap(self.sparsity)
        self.caption = (
            f"Intersection over union of the weights kept at {percent(self.sparsity)} after visual-only and text-only "
            f"calibration, mean over seeds with the least and the greatest; two random masks share {self.random:.3f}. "
            "'other samples' compares two text-only calibrations with other samples."
        )

    def cells(self, seed: int) -> Sequence[Cell]:
        pools = {"visual": "VisualOnly", "text": "TextOnly"}
        return [
            Cell({"calibration": name}, {"both": Pathway(pool, self.sparsity)}, seed=seed, asked=False)
            for name, pool in pools.items()
        ]

    def table(self, results: Results) -> pd.DataFrame:
        modality_overlaps, sample_overlaps = _between(results), _within(results)
        return pd.DataFrame(
            [
                {
                    "linear": name,
                    "iou": float(np.mean([overlap_by_linear[name] for overlap_by_linear in modality_overlaps])),
                    "lowest": min(overlap_by_linear[name] for overlap_by_linear in modality_overlaps),
                    "highest": max(overlap_by_linear[name] for overlap_by_linear in modality_overlaps),
                    "other samples": float(np.mean([sample_overlap[name] for sample_overlap in sample_overlaps]))
                    if sample_overlaps
                    else np.nan,
                    "seeds": len(modality_overlaps),
                }
                for name in modality_overlaps[0]
            ]
        )

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        iou = dict(zip(table["linear"], table["iou"], strict=True))
        return overlap_heatmap(iou, self.random, note=f"{int(table['seeds'].iloc[0])} seeds")

    def findings(self, results: Results) -> Sequence[Finding]:
        modality_overlaps, sample_overlaps = _between(results), _within(results)
        means = [
            float(np.mean([modality_overlap[name] for modality_overlap in modality_overlaps]))
            for name in modality_overlaps[0]
        ]
        count = f"{len(means)} Linears, {results.seeds(calibration='text')}"
        shared = Finding(
            "The two masks share more than chance would give.",
            f"mean IoU {PAPER_MEAN:.2f} over 224 Linears",
            mean_estimate(means),
            "mean IoU over Linears",
            bound=self.random,
            count=count,
            printed=PAPER_MEAN,
        )
        if not sample_overlaps:
            return [shared]
        noise = [
            float(np.mean([sample_overlap[name] for sample_overlap in sample_overlaps]))
            for name in modality_overlaps[0]
        ]
        gap = mean_estimate(np.subtract(noise, means))
        claim = "They differ by more than other calibration samples of one modality do."
        return [shared, Finding(claim, NO_NUMBER, gap, "IoU lost", count=count)]


def _between(results: Results) -> list[Mapping[str, float]]:
    """For each seed, the IoU of visual-only and text-only masks by Linear."""
    texts = {finished_cell.cell.seed: finished_cell for finished_cell in results.of(calibration="text")}
    return [
        overlap(finished_cell.masks(), texts[finished_cell.cell.seed].masks())
        for finished_cell in results.of(calibration="visual")
    ]


def _within(results: Results) -> list[Mapping[str, float]]:
    """For each seed, the IoU by Linear of its text-only masks and the next seed's; empty if there is one seed."""
    texts = results.of(calibration="text")
    if len(texts) < 2:
        return []
    return [
        overlap(cell.masks(), next_cell.masks()) for cell, next_cell in zip(texts, texts[1:] + texts[:1], strict=True)
    ]
