"""What does each method cost, and what does it bring? (The paper's Table 4.)"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import SUITED, Ablation, Bench, Cell, Finding, Levels, Measured, Results, percent, pruned_copy
from atv.ablation.charts import PALETTE, finish, reference_line
from atv.api import Pathway
from atv.bundled import BUNDLED
from atv.runtime.timing import elapsed, interleaved
from atv.statistics.estimates import Estimate

REPEATS = 5
METHODS: dict[str, dict[str, Any]] = {
    "Wanda": {"selection": "AllTokens"},
    "SparseGPT": {"selection": "AllTokens", "criterion": "SparseGPT"},
    "AMIA": {"selection": "AMIA"},
    "ATV": {"selection": "DriftTopK"},
}
# Wall-clock time relative to Wanda's.
PAPER = {"SparseGPT": 9.04, "AMIA": 19.25, "ATV": 1.35}


class Efficiency(Ablation):
    """Time to calibrate and prune by each method, taken in turns in one process, beside what the method keeps."""

    name = "efficiency"
    question = "What does each method cost, and what does it bring over Wanda?"
    paper = "Table 4"

    def __init__(self, levels: Levels = SUITED[BUNDLED]) -> None:
        super().__init__(levels)
        self.pathways = {name: Pathway(sparsity=levels.middle, **rules) for name, rules in METHODS.items()}
        self.caption = (
            f"Whole decoder at {percent(levels.middle)}. Seconds to calibrate and prune: medians of {REPEATS} turns a "
            "seed of all methods, and ratios to Wanda within a turn (median, least, greatest). Gain: points of "
            "retention over Wanda, paired, with 95% intervals."
        )

    def cells(self, seed: int) -> Sequence[Cell]:
        asked_cells = [Cell({"method": name}, {"both": pathway}, seed=seed) for name, pathway in self.pathways.items()]
        timed_cell = Cell({"method": "all, timed"}, seed=seed, measure=f"seconds at {percent(self.levels.middle)}")
        return [Cell({"method": "dense"}), *asked_cells, timed_cell]

    def measure(self, cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
        def prune(pathway: Pathway) -> float:
            pruned_cell = Cell({}, {"both": pathway}, seed=cell.seed)
            return elapsed(lambda: pruned_copy(pruned_cell, bench, trainer))

        prune(self.pathways["Wanda"])  # warm-up: the first run in a process includes lazy loading
        seconds = interleaved({name: partial(prune, pathway) for name, pathway in self.pathways.items()}, REPEATS)
        return Measured(pd.DataFrame(seconds))

    def table(self, results: Results) -> pd.DataFrame:
        seconds = pd.concat([finished_cell.rows for finished_cell in results.of(method="all, timed")])
        ratios = seconds.div(seconds["Wanda"], axis=0)
        rows = []
        for name in METHODS:
            retention, gain = results.retention(method=name)["average"], _gain(results, name)
            cost = {"seconds": seconds[name].median(), "x Wanda": ratios[name].median()}
            spread = {"least": ratios[name].min(), "greatest": ratios[name].max(), "paper": PAPER.get(name, 1.0)}
            gained = {"gain": gain.value, "gain low": gain.low, "gain high": gain.high}
            rows.append(
                {"method": name}
                | cost
                | spread
                | {"retention": retention.value}
                | gained
                | results.language(method=name)
            )
        return pd.DataFrame(rows)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
        for row, color in zip(table.to_dict("records"), PALETTE, strict=False):
            spread = np.array([[row["gain"] - row["gain low"]], [row["gain high"] - row["gain"]]])
            axes.errorbar(row["x Wanda"], row["gain"], yerr=spread, fmt="o", color=color, capsize=3)
            axes.annotate(f"  {row['method']}", (row["x Wanda"], row["gain"]), color=color, va="bottom")
        reference_line(axes, y=0)
        axes.set(xlabel="seconds over Wanda's", ylabel="retention over Wanda's (points)")
        axes.set_xlim(0, 1.25 * table["x Wanda"].max())
        finish(axes)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        seconds = pd.concat([finished_cell.rows for finished_cell in results.of(method="all, timed")])

        def takes_less(other_method: str) -> Finding:
            ratio, printed = seconds[other_method] / seconds["ATV"], PAPER[other_method] / PAPER["ATV"]
            return Finding(
                f"ATV-Pruning takes less time than {other_method}.",
                f"{printed:.1f} times less",
                Estimate(ratio.median(), ratio.min(), ratio.max()),
                "times ATV-Pruning's seconds (least to greatest of the turns)",
                bound=1.0,
                count=f"{len(ratio)} turns",
                printed=printed,
            )

        return [takes_less("SparseGPT"), takes_less("AMIA")]


def _gain(results: Results, name: str) -> Estimate:
    return Estimate(0.0, 0.0, 0.0) if name == "Wanda" else results.difference({"method": name}, {"method": "Wanda"})
