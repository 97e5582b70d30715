"""Where do text and visual activations lie? (The paper's Figure 1a.)"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atv.ablation import Ablation, Bench, Cell, Finding, Measured, Results
from atv.ablation.charts import TEXT, VISUAL
from atv.model.hooks import first_output
from atv.model.lvlm import LVLM
from atv.statistics.estimates import mean_estimate

SAMPLES, TOKENS = 64, 8
# Columns that identify a sample: each seed draws different samples.
SAMPLE = ["seed", "sample"]


class ActivationGeometry(Ablation):
    """t-SNE maps of the dense model's block outputs, and a linear classifier that predicts modality from them.

    The classifier is cross-validated over samples. The radius is a token's distance to its modality's centroid, in
    units of the distance between the two centroids.
    """

    name = "activation_geometry"
    question = "Where do text and visual activations lie?"
    paper = "Figure 1a"
    caption = (
        f"Of {SAMPLES} samples, {TOKENS} tokens of each modality. 'separable': share of tokens whose modality a "
        "linear classifier tells (5-fold over samples). Radii are mean distances to the modality's centroid, over the "
        "distance between the centroids."
    )

    def cells(self, seed: int) -> Sequence[Cell]:
        return [Cell({"model": "dense"}, seed=seed, samples=SAMPLES, measure="geometry")]

    def measure(self, cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
        tokens = _tokens(bench, cell)
        return Measured(pd.concat([_described(block, points, cell.seed) for block, points in enumerate(tokens)]))

    def table(self, results: Results) -> pd.DataFrame:
        rows = []
        for block, points in _points(results).groupby("block"):
            separable = mean_estimate(points.groupby(SAMPLE)["told"].mean())
            radii = points.groupby("modality")["radius"].mean()
            numbers = {"separable": separable.value, "low": separable.low, "high": separable.high}
            radius = {"text radius": radii["text"], "visual radius": radii["visual"]}
            rows.append({"block": block, "tokens": len(points), **numbers, **radius})
        return pd.DataFrame(rows)

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        # Maps of different seeds do not share axes, so the figure shows one seed.
        all_points = _points(results)
        points = dict(list(all_points[all_points["seed"] == all_points["seed"].min()].groupby("block")))
        columns = min(len(table), 4)
        panel_rows = -(-len(table) // columns)
        figure, panels = plt.subplots(
            panel_rows, columns, figsize=(3 * columns, 3 * panel_rows), layout="constrained", squeeze=False
        )
        for axes in panels.flat:
            axes.axis("off")
        for axes, row in zip(panels.flat, table.to_dict("records"), strict=False):
            block_points = points[row["block"]]
            for modality, color in (("visual", VISUAL), ("text", TEXT)):
                tokens = block_points[block_points["modality"] == modality]
                axes.scatter(tokens["x"], tokens["y"], s=5, color=color, label=modality, linewidths=0, alpha=0.7)
            axes.set_title(f"block {row['block']}: {100 * row['separable']:.1f}% told apart", fontsize=9)
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=3)
        figure.suptitle(f"t-SNE of block outputs, {len(block_points):,} tokens a block", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        rows = _points(results)
        samples, blocks = len(rows.groupby(SAMPLE)), rows["block"].nunique()
        count = f"{samples} samples, {len(rows):,} tokens, {blocks} blocks"
        radii = rows.pivot_table(index=SAMPLE, columns="modality", values="radius")
        return (
            Finding(
                "Text and visual activations are disjoint: more than 99% are told apart by a linear classifier.",
                "disjoint clusters, no number",
                mean_estimate(100 * rows.groupby(SAMPLE)["told"].mean()),
                "% of tokens",
                bound=99.0,
                count=count,
            ),
            Finding(
                "Text is one tight cluster, visual tokens spread further.",
                "so by eye, no number",
                mean_estimate(radii["visual"] - radii["text"]),
                "radius, in distances between the centroids",
                count=count,
            ),
        )


def _points(results: Results) -> pd.DataFrame:
    """All sampled tokens of all seeds, one row per token."""
    return pd.concat([finished_cell.rows.assign(seed=finished_cell.cell.seed) for finished_cell in results.finished])


@torch.no_grad()
def _tokens(bench: Bench, cell: Cell) -> list[pd.DataFrame]:
    """For each block, a table with one row per sampled token: sample, modality and activation (``vector``)."""
    lvlm, rng = LVLM.of(bench.model), np.random.default_rng(cell.seed)
    rows_by_block: list[list[dict[str, object]]] = [[] for _ in lvlm.blocks]
    sample = 0
    for batch in bench.calibration(cell.samples, cell.seed).batches:
        outputs = _outputs(lvlm, batch)
        visual, valid = lvlm.visual(batch), lvlm.valid(batch)
        for row in range(len(visual)):
            for modality, mask in (("text", valid[row] & ~visual[row]), ("visual", visual[row])):
                positions = mask.nonzero()[:, 0].numpy()
                chosen = rng.choice(positions, min(TOKENS, len(positions)), replace=False)
                for block, output in enumerate(outputs):
                    vectors = output[row, chosen].float().numpy()
                    rows_by_block[block] += [
                        {"sample": sample, "modality": modality, "vector": vector} for vector in vectors
                    ]
            sample += 1
    return [pd.DataFrame(rows) for rows in rows_by_block]


def _outputs(lvlm: LVLM, batch: Mapping[str, Any]) -> list[torch.Tensor]:
    """Outputs of every block for a batch, each (samples, tokens, channels)."""
    outputs: list[torch.Tensor] = []

    def keep(block: torch.nn.Module, inputs: object, output: Any) -> None:
        outputs.append(first_output(output))

    with ExitStack() as hooks:
        for block in lvlm.blocks:
            hooks.enter_context(block.register_forward_hook(keep))
        lvlm.model(**batch)
    return outputs


def _described(block: int, tokens: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Replaces activations by t-SNE coordinates, whether the classifier got the modality right, and the radius."""
    vectors, text = np.stack(tokens["vector"].tolist()), (tokens["modality"] == "text").to_numpy()
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    is_right = cross_val_predict(classifier, vectors, text, groups=tokens["sample"], cv=GroupKFold(5)) == text
    centroids = {True: vectors[text].mean(0), False: vectors[~text].mean(0)}
    own_centroids = np.stack([centroids[bool(is_text)] for is_text in text])
    radius = np.linalg.norm(vectors - own_centroids, axis=1) / np.linalg.norm(centroids[True] - centroids[False])
    coordinates = TSNE(random_state=seed, init="pca").fit_transform(vectors)
    described = {"block": block, "x": coordinates[:, 0], "y": coordinates[:, 1], "told": is_right, "radius": radius}
    return tokens.drop(columns="vector").assign(**described)
