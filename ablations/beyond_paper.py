"""Beyond the paper: does another pool, or another update on ATV's pool, keep more than ATV-Pruning at equal cost?"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from atv.ablation.base import Ablation
from atv.ablation.cell import Cell
from atv.ablation.results import Results
from atv.api import Pathway
from atv.selection import DriftTopK, Tokens, TokenSelection

SPARSITY = 0.6


class WeightedByDrift(TokenSelection):
    """Every visual token enters, with its drift for a weight, in place of a hard subset."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text + tokens.drift.clamp(min=0) * tokens.visual


class TiedWeight(TokenSelection):
    """Every visual token enters, all of them together with a tenth of the text's weight."""

    def select(self, tokens: Tokens) -> Tensor:
        each = 0.1 * tokens.n_text / max(int(tokens.visual.sum()), 1)
        return tokens.text + each * tokens.visual


class DriftingText(DriftTopK):
    """ATV's visual tokens, and text tokens weighted by how far the block moves them."""

    def select(self, tokens: Tokens) -> Tensor:
        drift = tokens.drift.clamp(min=0) * tokens.text
        return drift * (tokens.n_text / drift.sum().clamp(min=1e-12))


class VisualAttention(TokenSelection):
    """A budget by kind of Linear: attention is calibrated on all tokens, the feed-forward layers on text alone."""

    per_linear = True

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text | (tokens.visual & ("attn" in tokens.linear))


POOLS = {
    "Wanda": Pathway("AllTokens", SPARSITY),
    "TextOnly": Pathway("TextOnly", SPARSITY),
    "ATV": Pathway("DriftTopK", SPARSITY),
    "SoftDrift": Pathway(WeightedByDrift(), SPARSITY),
    "TiedWeight": Pathway(TiedWeight(), SPARSITY),
    "DriftingText": Pathway(DriftingText(), SPARSITY),
    "VisualAttention": Pathway(VisualAttention(), SPARSITY),
    "SparseGPT": Pathway("AllTokens", SPARSITY, criterion="SparseGPT"),
    "SparseGPT, ATV's pool": Pathway("DriftTopK", SPARSITY, criterion="SparseGPT"),
}


class BeyondPaper(Ablation):
    """The whole decoder at 60%, one pool or update a cell."""

    name = "beyond_paper"
    question = "What keeps more than ATV-Pruning's pool does?"

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"method": "dense"})]
        return grid + [Cell({"method": name}, {"both": pool}, seed=seed) for name, pool in POOLS.items()]

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        rows = table[(table["task"] == "average") & (table["method"] != "dense")].iloc[::-1]
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        spread = [rows["retention"] - rows["low"], rows["high"] - rows["retention"]]
        axes.errorbar(rows["retention"], rows["method"], xerr=spread, fmt="o", color="#1d4ed8", capsize=3)
        questions = int(rows["questions"].iloc[0])
        axes.set(xlabel=f"average retention at {SPARSITY:.0%} (%), {questions} questions a point, 95% intervals")
        axes.spines[["top", "right"]].set_visible(False)
        return figure
