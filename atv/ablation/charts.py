"""Charts that several ablations draw alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TEXT, VISUAL, MIXED, GREY = "#c2410c", "#1d4ed8", "#6d28d9", "#6b7280"
# Okabe and Ito's, told apart by the colour-blind.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def averages(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a retention table that hold averages over tasks."""
    return table[table["task"] == "average"]


def points(axes: Axes, rows: pd.DataFrame, names: Sequence[str], by: str, color: str = VISUAL) -> None:
    """Retention and its interval, one line a name, the first on top."""
    rows = rows.set_index(by).reindex(names[::-1])
    spread = [rows["retention"] - rows["low"], rows["high"] - rows["retention"]]
    axes.errorbar(rows["retention"], [str(name) for name in rows.index], xerr=spread, fmt="o", color=color, capsize=3)
    finish(axes)


def panels(
    rows: pd.DataFrame,
    by: str,
    titles: Mapping[Any, str],
    names: Sequence[str],
    line: str,
    size: tuple[float, float],
    colors: Sequence[str] = (),
) -> tuple[Figure, Sequence[Axes]]:
    """Points of retention, a panel for each value of ``by`` with its title, in it a line for each of the names.

    Panels of colours of their own, where ``colors`` are given, have one scale. Panels and lines without a row, of cells
    that were not run, are left out.
    """
    painted = dict(zip(titles, colors or [VISUAL] * len(titles), strict=False))
    titles = {value: title for value, title in titles.items() if value in set(rows[by])}
    names = [name for name in names if name in set(rows[line])]
    figure, grid = plt.subplots(
        1, len(titles), figsize=size, sharex=bool(colors), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (value, title) in zip(grid[0], titles.items(), strict=True):
        points(axes, rows[rows[by] == value], names, line, painted[value])
        axes.set(title=title, xlabel="average retention (%)")
    return figure, list(grid[0])


def curve(axes: Axes, x: Sequence[float] | pd.Series, rows: pd.DataFrame, label: str, color: str) -> None:
    """Retention over x, its interval as a band."""
    axes.plot(x, rows["retention"], "o-", color=color, label=label, linewidth=1.8, markersize=4)
    axes.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.15, linewidth=0)
    finish(axes)


def finish(axes: Axes) -> None:
    """No frame on top and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def counts(rows: pd.DataFrame) -> str:
    """What a point stands for, in words; the dense model, of one seed, is its own measure and has no interval."""
    pruned = rows[rows["low"] < rows["high"]]
    seeds, questions = sorted(set(pruned["seeds"])) or [1], sorted(set(rows["questions"].astype(int)))
    asked, drawn = (" to ".join(f"{each:,}" for each in sorted({own[0], own[-1]})) for own in (questions, seeds))
    return f"{asked} questions and {drawn} seed{'s' if seeds[-1] > 1 else ''} a point, 95% intervals"
