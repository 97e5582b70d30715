"""Figure of the sizes of a Linear's input channels, by modality."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Alignment and offset of the labels, from left to right. A panel labels this many channels: the largest by modality.
LABELS = (("right", (-4, 0)), ("center", (0, 5)), ("left", (4, 0)))
COLOR, LARGE = "#1d4ed8", "#c2410c"


def norms_by_channel(table: pd.DataFrame, linear: str = "", note: str = "") -> Figure:
    """Plots each channel's root mean square over visual tokens against that over text tokens, one panel per block.

    On the diagonal, both modalities are equally large. The largest channels are labelled with their numbers. Both
    scales are logarithmic and shared by all panels.

    Args:
        table: columns block, channel, text, visual (root mean squares).
        linear: name of the Linear whose input is shown.
        note: additional text for the title, such as the number of tokens.

    Raises:
        ValueError: if the table is empty or has no finite positive number.
    """
    values = table[["text", "visual"]].to_numpy(float)
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        raise ValueError("table: no root mean square is a positive number")
    limits = positive.min() / 1.5, positive.max() * 1.5
    blocks = list(table.groupby("block"))
    columns = min(len(blocks), 3 if len(blocks) <= 9 else 6)
    rows = -(-len(blocks) // columns)
    side = 2.6 if columns <= 3 else 1.9
    figure = Figure(figsize=(max(columns * side, 5) + 0.3, rows * side + 1), layout="compressed")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (block, channels) in zip(panels, blocks, strict=False):
        _draw(axes, channels, limits)
        axes.set_title(f"block {block}", fontsize=9)
    for unused_panel in panels[len(blocks) :]:
        unused_panel.set_axis_off()
    figure.supxlabel("text tokens: root mean square", fontsize=9)
    figure.supylabel("visual tokens: root mean square", fontsize=9)
    title_line = f"Input of {linear or 'a Linear'} by channel, {len(blocks[0][1])} channels per block"
    figure.suptitle("\n".join(filter(None, [title_line, note])), fontsize=10)
    return figure


def _draw(axes: Axes, channels: pd.DataFrame, limits: tuple[float, float]) -> None:
    axes.plot(limits, limits, color="0.6", linewidth=0.8, zorder=1)
    largest = channels[["text", "visual"]].max(axis=1).nlargest(len(LABELS)).index
    unlabelled = channels.drop(index=largest)
    axes.scatter(unlabelled["text"], unlabelled["visual"], s=6, color=COLOR, alpha=0.45, linewidths=0, rasterized=True)
    labelled = channels.loc[largest]
    axes.scatter(labelled["text"], labelled["visual"], s=14, color=LARGE, linewidths=0)
    # From left to right, so that the labels of neighbours do not overlap.
    order = labelled.sort_values("text")
    for (_, row), (alignment, offset) in zip(order.iterrows(), LABELS, strict=False):
        label, position = f"{row['channel']:.0f}", (row["text"], row["visual"])
        axes.annotate(label, position, offset, textcoords="offset points", ha=alignment, fontsize=7, color=LARGE)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if limits[1] / limits[0] < 1000 else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
