"""Figure of the visual tokens that each block selected, drawn over the picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from atv.model.visual_grid import VisualGrid

CMAP = "viridis"
WIDEST = 8


def token_overlay(
    image: ArrayLike,
    grid: VisualGrid | None,
    selected: ArrayLike,
    drift: ArrayLike,
    mean_drift: Sequence[float] | None = None,
    blocks: Sequence[int] | None = None,
    title: str = "",
) -> Figure:
    """Draws the picture, then one panel per block: selected patches are framed and tinted by drift, others are faded.

    Tokens outside the grid, or all tokens without a grid, are shown in order as a strip under each picture.

    Args:
        image: the picture as the model sees it, (height, width, 3) in [0, 1] or uint8.
        grid: positions of the tokens; None if unknown.
        selected: bool (blocks, visual tokens).
        drift: drift of each token, same shape; the colour scale is logarithmic and shared by all panels.
        mean_drift: mean drift of each block over the calibration set, for the titles; by default, that of the sample.
        blocks: numbers of the blocks; by default, they are counted from 0.
        title: title of the figure.

    Raises:
        ValueError: if the arrays do not fit each other or the grid.
    """
    picture, selected_mask, drifts = np.asarray(image), np.asarray(selected, bool), np.asarray(drift, float)
    _check_shapes(selected_mask, drifts, grid)
    means = drifts.mean(1) if mean_drift is None else mean_drift
    norm = _drift_scale(drifts)
    figure, panels = _panels(
        len(selected_mask) + 1, picture, strip=grid is None or len(grid.tokens) < selected_mask.shape[1]
    )
    _show_picture(panels[0], picture)
    panels[0].set_title("what the model sees\n", fontsize=9)
    for row, axes in enumerate(panels[1:]):
        draw_block(axes, picture, grid, selected_mask[row], drifts[row], norm)
        block_number = row if blocks is None else blocks[row]
        title_line = f"block {block_number}: K = {selected_mask[row].sum()} of {selected_mask.shape[1]}"
        axes.set_title(f"{title_line}\nmean drift {means[row]:.3g}", fontsize=9)
    bar = figure.colorbar(ScalarMappable(norm, CMAP), ax=list(panels), fraction=0.03, pad=0.01)
    bar.set_label("drift of the token, 1 - cos(block's input, output)", fontsize=9)
    figure.suptitle(
        "\n".join(filter(None, [title, _positions_note(grid, selected_mask.shape[1])])), fontsize=10, parse_math=False
    )
    return figure


def draw_block(
    axes: Axes,
    picture: NDArray,
    grid: VisualGrid | None,
    selected: NDArray[np.bool_],
    drift: NDArray[np.float64],
    norm: Normalize,
) -> None:
    """Draws a block's panel; each selected patch is a ``Rectangle`` whose gid is the number of its visual token."""
    _show_picture(axes, picture)
    on_grid = range(0) if grid is None else grid.tokens
    if grid is not None:
        fade = np.where(selected[on_grid].reshape(grid.rows, grid.columns), 0.0, 0.72)
        veil = np.dstack([np.ones((*fade.shape, 3)), fade])
        height, width = picture.shape[:2]
        axes.imshow(veil, extent=(0, width, height, 0), interpolation="nearest", aspect="equal")
        for token in on_grid:
            if selected[token]:
                axes.add_patch(_patch(token, grid, picture.shape, norm(drift[token])))
    if off_grid := [token for token in range(len(selected)) if token not in on_grid]:
        _strip(axes, off_grid, selected, drift, norm)


def _patch(token: int, grid: VisualGrid, shape: Sequence[int], value: float) -> Rectangle:
    row, column = divmod(token - grid.first, grid.columns)
    height, width = shape[0] / grid.rows, shape[1] / grid.columns
    color = colormaps[CMAP](value)
    patch = Rectangle((column * width, row * height), width, height, facecolor=(*color[:3], 0.75), edgecolor="black")
    patch.set(linewidth=1.0, gid=str(token))
    return patch


def _strip(axes: Axes, tokens: Sequence[int], selected: NDArray, drift: NDArray, norm: Normalize) -> None:
    """Draws tokens without a position in order: coloured by drift if selected, otherwise grey."""
    strip_axes = axes.inset_axes((0, -0.13, 1, 0.08))
    values = np.where(selected[list(tokens)], drift[list(tokens)], np.nan)[None]
    strip_axes.imshow(values, cmap=colormaps[CMAP].with_extremes(bad="0.9"), norm=norm, aspect="auto")
    strip_axes.set(xticks=[], yticks=[], gid="strip")
    strip_axes.spines[:].set_color("0.7")


def _show_picture(axes: Axes, picture: NDArray) -> None:
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _panels(count: int, picture: NDArray, strip: bool) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, WIDEST if count > 12 else 4)
    rows = -(-count // columns)
    aspect_ratio = min(max(picture.shape[0] / picture.shape[1], 0.4), 2.0)
    side = 2.1 if columns <= 4 else 1.7
    size = columns * side + 1.2, rows * (side * (aspect_ratio + 0.13 * strip) + 0.55) + 0.4
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused_panel in axes[count:]:
        unused_panel.set_axis_off()
    return figure, list(axes[:count])


def _drift_scale(drift: NDArray[np.float64]) -> Normalize:
    """Returns a logarithmic scale from the 2nd to the 100th percentile of all positive drifts."""
    positive = drift[drift > 0]
    if not len(positive) or positive.min() == positive.max():
        return Normalize(0, 1, clip=True)
    return LogNorm(np.percentile(positive, 2), positive.max(), clip=True)


def _positions_note(grid: VisualGrid | None, tokens: int) -> str:
    if grid is None:
        return f"the positions of the {tokens} visual tokens are not known: strips show them in order"
    off_grid = tokens - len(grid.tokens)
    strips = f"; {off_grid} more (tiles, row ends) are shown in order in the strips" if off_grid else ""
    return f"{grid.rows} x {grid.columns} visual tokens{strips}"


def _check_shapes(selected: NDArray, drift: NDArray, grid: VisualGrid | None) -> None:
    if selected.ndim != 2 or not selected.size or selected.shape != drift.shape:
        raise ValueError(f"selected, drift: expected (blocks, tokens) each, got {selected.shape} and {drift.shape}")
    if grid is not None and grid.tokens.stop > selected.shape[1]:
        raise ValueError(f"grid: its last token is {grid.tokens.stop - 1}, but there are {selected.shape[1]} tokens")
