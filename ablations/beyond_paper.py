"""Beyond the paper: does another pool, score, pattern or allocation keep more than ATV-Pruning at equal cost?"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from atv.ablation import Ablation, Cell, Finding, Results, percent
from atv.ablation.charts import averages, panels, reference_line, sample_sizes
from atv.allocation import ByKind
from atv.api import Pathway
from atv.criteria import Criterion, PoolStatistics, SparseGPT
from atv.selection import DriftTopK, Tokens, TokenSelection


class WeightedByDrift(TokenSelection):
    """All text tokens, and all visual tokens weighted by their drift instead of a hard subset of them."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text + tokens.drift.clamp(min=0) * tokens.visual


class TiedWeight(TokenSelection):
    """All text tokens, and all visual tokens with equal weights that sum to a tenth of the text's weight."""

    def select(self, tokens: Tokens) -> Tensor:
        each = 0.1 * tokens.n_text / max(int(tokens.visual.sum()), 1)
        return tokens.text + each * tokens.visual


class DriftingText(DriftTopK):
    """ATV's visual tokens, and text tokens weighted by their own drift."""

    def select(self, tokens: Tokens) -> Tensor:
        drift = tokens.drift.clamp(min=0) * tokens.text
        return drift * (tokens.n_text / drift.sum().clamp(min=1e-12))


class LateText(DriftTopK):
    """ATV's visual tokens, and text tokens weighted by position, from 0 to 2, so answers weigh more than prompts."""

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text * (2 * tokens.text.cumsum(0) - 1) / max(tokens.n_text, 1)


class VisualAttention(TokenSelection):
    """A pool per kind of Linear: attention is calibrated on all tokens, feed-forward layers only on text."""

    per_linear = True

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.text | (tokens.visual & ("attn" in tokens.linear))


class RootWanda(Criterion):
    """``|W_ij| * ||X_j||^0.5``, halfway between magnitude and Wanda."""

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        return weight.float().abs() * pool.norm.to(weight.device).sqrt()


class RowShare(Criterion):
    """Wanda's score ``|W_ij| * ||X_j||`` over the Euclidean norm of its row: a weight's share of its output."""

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        size = weight.float().abs() * pool.norm.to(weight.device)
        return size / size.norm(dim=1, keepdim=True).clamp(min=1e-30)


ATV = {"selection": "DriftTopK"}
METHODS: dict[str, dict[str, Any]] = {
    "Wanda": {"selection": "AllTokens"},
    "TextOnly": {"selection": "TextOnly"},
    "ATV": ATV,
    "PerBlock, ATV": ATV | {"pattern": "PerBlock"},
    "PerBlock, TextOnly": {"selection": "TextOnly", "pattern": "PerBlock"},
    "PerBlock, Wanda": {"selection": "AllTokens", "pattern": "PerBlock"},
    "PerLayer, ATV": ATV | {"pattern": "PerLayer"},
    "RowShare PerBlock, ATV": ATV | {"criterion": RowShare(), "pattern": "PerBlock"},
    "DAS, ATV": ATV | {"allocation": "DAS"},
    "OWL, ATV": ATV | {"allocation": "OWL"},
    "attention -0.1, ATV": ATV | {"allocation": -0.1},
    "attention -0.2, ATV": ATV | {"allocation": -0.2},
    "attention +0.1, ATV": ATV | {"allocation": +0.1},
    "RIA, ATV": ATV | {"criterion": "RIA"},
    "RIA PerLayer, ATV": ATV | {"criterion": "RIA", "pattern": "PerLayer"},
    "RootWanda, ATV": ATV | {"criterion": RootWanda()},
    "DriftingText": {"selection": DriftingText()},
    "LateText": {"selection": LateText()},
    "SoftDrift": {"selection": WeightedByDrift()},
    "TiedWeight": {"selection": TiedWeight()},
    "VisualAttention": {"selection": VisualAttention()},
    "SparseGPT": {"selection": "AllTokens", "criterion": "SparseGPT"},
    "SparseGPT, ATV": ATV | {"criterion": "SparseGPT"},
    "SparseGPT damped, ATV": ATV | {"criterion": SparseGPT(damping=1.0)},
}
# Methods that findings compare; all others are only screened.
CLAIMED = ("Wanda", "TextOnly", "ATV", "PerBlock, ATV", "PerBlock, TextOnly")


def pathway(sparsity: float, **parts: Any) -> Pathway:
    """Builds a pathway; a number as ``allocation`` is by how much attention's sparsity exceeds the target."""
    if isinstance(excess := parts.get("allocation"), float):
        parts["allocation"] = ByKind({"*_attn.*": round(sparsity + excess, 9)})
    return Pathway(sparsity=sparsity, **parts)


class BeyondPaper(Ablation):
    """The whole decoder, pruned with one idea per cell."""

    name = "beyond_paper"
    question = "What keeps more than ATV-Pruning does, at two passes a block?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        grid = [Cell({"method": "dense", "sparsity": 0.0})]
        for sparsity in self.levels.middle_and_hard:
            for method, rules in METHODS.items():
                pruned = {"both": pathway(sparsity, **rules)}
                grid.append(Cell({"method": method, "sparsity": sparsity}, pruned, seed=seed))
        return grid

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["method"] in CLAIMED

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        titles = {sparsity: f"{percent(sparsity)} sparsity" for sparsity in self.levels.middle_and_hard}
        figure, all_axes = panels(
            average, by="sparsity", titles=titles, line="method", names=list(METHODS), size=(10, 7)
        )
        for axes, sparsity in zip(all_axes, titles, strict=True):
            rows = average[average["sparsity"] == sparsity]
            atv = rows.loc[rows["method"] == "ATV", "retention"].item()
            reference_line(axes, x=atv)
        figure.suptitle(f"{self.question} {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        other_methods = ("ATV", "PerBlock, TextOnly")
        return [
            _better("PerBlock, ATV", other_method, sparsity, results)
            for sparsity in self.levels.middle_and_hard
            for other_method in other_methods
        ]


def _better(method: str, other_method: str, sparsity: float, results: Results) -> Finding:
    labels, other_labels = ({"method": name, "sparsity": sparsity} for name in (method, other_method))
    return results.keeps_more(
        f"At {percent(sparsity)}, {method!r} keeps more than {other_method!r}.", labels, other_labels
    )
