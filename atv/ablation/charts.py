"""Charts that several ablations share."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TEXT, VISUAL, MIXED, GREY = "#c2410c", "#1d4ed8", "#6d28d9", "#6b7280"
# The palette of Okabe and Ito, which colour-blind readers can distinguish.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def averages(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of a retention table that hold averages over tasks."""
    return table[table["task"] == "average"]


def interval_points(axes: Axes, rows: pd.DataFrame, names: Sequence[str], by: str, color: str = VISUAL) -> None:
    """Draws retention with its interval, one line per name, the first name on top."""
    rows = rows.set_index(by).reindex(names[::-1])
    spread = [rows["retention"] - rows["low"], rows["high"] - rows["retention"]]
    axes.errorbar(rows["retention"], [str(name) for name in rows.index], xerr=spread, fmt="o", color=color, capsize=3)
    finish(axes)


def panels(
    rows: pd.DataFrame,
    *,
    by: str,
    titles: Mapping[Any, str] | Sequence[str],
    line: str,
    names: Sequence[str],
    size: tuple[float, float],
    colors: Sequence[str] = (),
) -> tuple[Figure, Sequence[Axes]]:
    """Draws points of retention: one panel for each value of one column, with one line for each value of another.

    Panels and lines without rows, because their cells were not run, are left out.

    Args:
        rows: averages of a retention table.
        by: the column whose values are the panels.
        titles: values of ``by``, from left to right, mapped to the panels' titles; in a sequence, they are the titles.
        line: the column whose values are the lines of each panel.
        names: values of ``line``, from top to bottom.
        size: size of the figure in inches.
        colors: one per panel; if given, all panels share one scale.
    """
    titles_by_value = titles if isinstance(titles, Mapping) else dict(zip(titles, titles, strict=True))
    colors_by_value = dict(zip(titles_by_value, colors or [VISUAL] * len(titles_by_value), strict=False))
    panel_values = [value for value in titles_by_value if value in set(rows[by])]
    names = [name for name in names if name in set(rows[line])]
    figure, grid = plt.subplots(
        1, len(panel_values), figsize=size, sharex=bool(colors), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, value in zip(grid[0], panel_values, strict=True):
        interval_points(axes, rows[rows[by] == value], names, line, colors_by_value[value])
        axes.set(title=titles_by_value[value], xlabel="average retention (%)")
    return figure, list(grid[0])


def curve(axes: Axes, x: Sequence[float] | pd.Series, rows: pd.DataFrame, label: str, color: str) -> None:
    """Draws retention over x, with its interval as a band."""
    axes.plot(x, rows["retention"], "o-", color=color, label=label, linewidth=1.8, markersize=4)
    axes.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.15, linewidth=0)
    finish(axes)


def reference_line(axes: Axes, *, x: float | None = None, y: float | None = None) -> None:
    """Draws a dotted line at a value to compare with, such as 100 for the dense model's retention."""
    style: dict[str, Any] = {"color": "0.6", "linewidth": 0.8, "linestyle": ":"}
    if x is not None:
        axes.axvline(x, **style)
    if y is not None:
        axes.axhline(y, **style)


def finish(axes: Axes) -> None:
    """Removes the frame at the top and on the right."""
    axes.spines[["top", "right"]].set_visible(False)


def sample_sizes(rows: pd.DataFrame) -> str:
    """Returns how many questions and seeds each point stands for, in words for a title.

    Seeds of the dense model do not count: it has one seed, is compared with itself and has no interval.
    """
    pruned = rows[rows["low"] < rows["high"]]
    seeds, questions = sorted(set(pruned["seeds"])) or [1], sorted(set(rows["questions"].astype(int)))
    questions_text, seeds_text = (
        " to ".join(f"{count:,}" for count in sorted({counts[0], counts[-1]})) for counts in (questions, seeds)
    )
    return f"{questions_text} questions and {seeds_text} seed{'s' if seeds[-1] > 1 else ''} per point, 95% intervals"
