"""Overlap of two sets of masks, as a table and a heat map of blocks and kinds of Linear."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# With more cells than this, their numbers would be too small to read.
MOST_NUMBERS = 320


def by_block_and_linear(values: Mapping[str, float]) -> pd.DataFrame:
    """Arranges values by full name in a table with a row per block and a column per kind of Linear, in model order.

    The first number in a name is its block, and the rest after it is the kind. A layer's experts are one kind, shown by
    their mean. A cell is NaN if a block has no Linear of that kind.

    Raises:
        ValueError: if a name has no block number, or there are no values.
    """
    if not values:
        raise ValueError("values: expected at least one, got none")
    rows = []
    for name, value in values.items():
        matched = re.search(r"(?:^|\.)(\d+)\.(.+)", name)
        if matched is None:
            raise ValueError(f"values: {name!r} has no block number")
        rows.append({"block": int(matched[1]), "linear": re.sub(r"\.\d+\.", ".*.", matched[2]), "value": value})
    table = pd.DataFrame(rows)
    kinds = list(dict.fromkeys(table["linear"]))
    return table.pivot_table(index="block", columns="linear", values="value", aggfunc="mean")[kinds]


def overlap_heatmap(
    iou: Mapping[str, float],
    random: float,
    pools: tuple[str, str] = ("visual-only", "text-only calibration"),
    note: str = "",
) -> Figure:
    """Draws a heat map of blocks and Linears, coloured by IoU from the random baseline (dark) to equal masks (bright).

    Args:
        iou: IoU by full name of a Linear, as ``atv.records.masks.overlap`` returns it.
        random: expected IoU of two random masks, see ``atv.records.masks.random_overlap``. The colour bar begins there,
            unless a cell is lower.
        pools: names of the two sets of masks.
        note: additional text for the title, such as the number of samples.
    """
    table = by_block_and_linear(iou)
    blocks, kinds = table.shape
    figure = Figure(
        figsize=(max(4.8, 0.85 * kinds + 2.2), max(2.8, min(0.42 * blocks, 11) + 1.9)), layout="constrained"
    )
    axes = figure.subplots()
    lowest = min(random, float(table.min().min()))
    image = axes.imshow(table, cmap="viridis", vmin=lowest, vmax=1, aspect="auto")
    axes.set_xticks(range(kinds), [kind.removeprefix("self_attn.").removeprefix("mlp.") for kind in table.columns])
    axes.tick_params("x", labelrotation=35 if kinds > 4 else 0)
    step = -(-blocks // 40)
    axes.set_yticks(range(0, blocks, step), [str(block) for block in table.index[::step]])
    axes.set(ylabel="decoder block")
    axes.spines[:].set_visible(False)
    if table.size <= MOST_NUMBERS:
        _write_numbers(axes, table, lowest)
    bar = figure.colorbar(image, ax=axes, label="IoU of what the masks keep")
    bar.ax.axhline(random, color="#c2410c", linewidth=3)
    ticks = [tick for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if tick >= lowest and abs(tick - random) > 0.05]
    bar.ax.set_yticks([random, *ticks], [f"{random:.2f}\nrandom", *(f"{tick:.1f}" for tick in ticks)])
    axes.set_title(
        f"Masks of {pools[0]} and {pools[1]}{note and ', '}{note}\n"
        f"{len(iou)} weights, mean IoU {sum(iou.values()) / len(iou):.3f} (two random masks: {random:.3f})",
        fontsize=10,
        loc="left",
        parse_math=False,
    )
    return figure


def _write_numbers(axes: Axes, table: pd.DataFrame, lowest: float) -> None:
    for row, values in enumerate(table.to_numpy()):
        for column, value in enumerate(values):
            if np.isnan(value):
                continue
            bright = value > lowest + 0.6 * (1 - lowest)
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="black" if bright else "white"
            )
