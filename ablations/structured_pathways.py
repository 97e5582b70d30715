"""Do whole structures separate text and vision as single weights do? (The paper asks only about weights.)"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import DENSE_PATHWAY, NO_NUMBER, Ablation, Cell, Finding, Labels, Results, percent
from atv.ablation.charts import TEXT, VISUAL, averages, finish, interval_points, panels, sample_sizes
from atv.allocation import BlockInfluence
from atv.api import Pathway

SELECTION = {"visual": "VisualOnly", "text": "TextOnly"}
BLOCKS = {"visual": BlockInfluence("visual"), "text": BlockInfluence("text")}


class Part(NamedTuple):
    """What one pathway loses: the Linears, the pattern, and the part of single weights that it is compared with."""

    targets: tuple[str, ...] | None
    pattern: str
    weights: str = ""


FFN, ATTENTION = ("*.mlp.*",), ("*.self_attn.*",)
PARTS = {
    "FFN weights": Part(FFN, "unstructured"),
    "FFN channels": Part(None, "FFNChannels", "FFN weights"),
    "attention weights": Part(ATTENTION, "unstructured"),
    "attention heads": Part(None, "AttentionHeads", "attention weights"),
    "all weights": Part(None, "unstructured"),
    "whole blocks": Part(None, "WholeBlocks", "all weights"),
}


class StructuredPathways(Ablation):
    """One pathway loses weights, FFN channels, attention heads or blocks, chosen by its own tokens.

    The other pathway stays dense. Only the pathway's own tokens do without the structure, so the model does not become
    smaller: this asks what each modality needs. If visual tokens lose a head, text tokens see zeros as their keys and
    values there.
    """

    name = "structured_pathways"
    question = "Does a structure that goes whole part text and vision as single weights do?"
    seeds = 3

    @property
    def _levels(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys((self.levels.nearest(0.5), self.levels.hard)))

    def cells(self, seed: int) -> Sequence[Cell]:
        pruned = [
            self._cell(part, pathway, sparsity, seed)
            for sparsity in self._levels
            for part in PARTS
            for pathway in SELECTION
        ]
        return [Cell({"part": "none", "pathway": "none", "sparsity": 0.0}), *pruned]

    def _cell(self, part: str, pathway: str, sparsity: float, seed: int) -> Cell:
        targets, pattern, _ = PARTS[part]
        # Whole blocks are removed by how little they change the pathway's tokens.
        allocation = BLOCKS[pathway] if pattern == "WholeBlocks" else "Uniform"
        pruned_pathway = Pathway(SELECTION[pathway], sparsity, pattern=pattern, allocation=allocation)
        pathways = {"text": DENSE_PATHWAY, "visual": DENSE_PATHWAY} | {pathway: pruned_pathway}
        return Cell(_labels(part, pathway, sparsity), pathways, targets=targets, seed=seed)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average, titles = averages(table), {sparsity: f"{percent(sparsity)} gone" for sparsity in self._levels}
        visual, text = (average[average["pathway"] == pathway] for pathway in SELECTION)
        size, colors = (4.2 * len(titles) + 1, 3.6), [VISUAL] * 2
        figure, all_axes = panels(
            visual, by="sparsity", titles=titles, line="part", names=list(PARTS), size=size, colors=colors
        )
        for sparsity, axes in zip(titles, all_axes, strict=True):
            interval_points(axes, text[text["sparsity"] == sparsity], list(PARTS), "part", TEXT)
            finish(axes)
        title = "Lost by the visual pathway (blue) or the textual one (orange)"
        figure.suptitle(f"{title}, {sample_sizes(average)}", fontsize=9)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        def visual_keeps_more(part: str, sparsity: float) -> Finding:
            removed = f"{percent(sparsity)} of its {_part_in_words(part)}"
            claim = f"Without {removed} the visual pathway keeps more than the textual one does."
            # The paper makes claims only about weights.
            paper = "" if PARTS[part].weights else NO_NUMBER
            return results.keeps_more(claim, *_visual_and_text(part, sparsity), paper=paper)

        def further_apart(part: str, weights: str, sparsity: float) -> Finding:
            """The finding that a structure separates the two pathways further than single weights do."""
            share, units, single_weights = percent(sparsity), _part_in_words(part), _part_in_words(weights)
            return results.lie_further_apart(
                f"Without {share} of their {units} the two pathways lie further apart than without {share} of their "
                f"{single_weights}.",
                _visual_and_text(part, sparsity),
                _visual_and_text(weights, sparsity),
            )

        compared = [(name, part.weights) for name, part in PARTS.items() if part.weights]
        return [visual_keeps_more(part, sparsity) for sparsity in self._levels for part in PARTS] + [
            further_apart(part, weights, sparsity) for sparsity in self._levels for part, weights in compared
        ]


def _part_in_words(part: str) -> str:
    """A part as a claim names it after its share, as in "50% of its blocks"."""
    return part.removeprefix("all ").removeprefix("whole ")


def _labels(part: str, pathway: str, sparsity: float) -> Labels:
    return {"part": part, "pathway": pathway, "sparsity": sparsity}


def _visual_and_text(part: str, sparsity: float) -> tuple[Labels, Labels]:
    return _labels(part, "visual", sparsity), _labels(part, "text", sparsity)
