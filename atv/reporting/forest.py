"""Draws all findings in one figure: our number with its interval, for one or two models, and the paper's as a mark."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from atv.ablation.charts import TEXT, VISUAL, finish
from atv.ablation.findings import POINT, Finding
from atv.reporting.carry_over import Pair
from atv.reporting.numbers import number

# Height of a line of text and of the space around a panel, in inches.
LINE, AROUND = 0.14, 0.5
CHARACTERS = 66
# Height of a row with one line of text, in lines.
SPACED = 1.4
# The axis is linear up to this many points and logarithmic beyond, so that 0.5 and 50 points are both visible.
LINEAR = 2.0
TICKS = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50)
COLORS, MARKERS = (VISUAL, TEXT), ("o", "s")
PAPERS: dict[str, Any] = {"color": "black", "markerfacecolor": "none", "markersize": 4.5, "markeredgewidth": 0.9}
POINTS = "points"


def forest_figure(pairs: Sequence[Pair], models: Sequence[str]) -> Figure:
    """Draws how far our numbers lie from the bounds that the claims set: one row per finding, grouped by ablation.

    Findings in points or percent share an axis; every other unit has its own. Marks of undecided findings are hollow.

    Args:
        pairs: at least one pair.
        models: names of the first model and, if there is one, the second.
    """
    pairs_by_unit: dict[str, list[Pair]] = {}
    for pair in pairs:
        pairs_by_unit.setdefault(_scale(pair.finding), []).append(pair)
    rows = {unit: _rows(unit_entries, models) for unit, unit_entries in pairs_by_unit.items()}
    heights = [
        LINE * sum(text.count("\n") + SPACED for text, _ in unit_entries) + AROUND for unit_entries in rows.values()
    ]
    figure = Figure(figsize=(7.4, sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)
    for axes, (unit, unit_entries) in zip(panels[:, 0], rows.items(), strict=True):
        _panel(axes, unit, unit_entries, len(models))
    _legend(figure, panels[0, 0], models, pairs)
    return figure


def _scale(finding: Finding) -> str:
    """Returns the unit of the axis that shows a finding."""
    return POINTS if finding.unit.startswith(("points", "%")) else finding.unit


def _rows(pairs: Sequence[Pair], models: Sequence[str]) -> list[tuple[str, Pair | None]]:
    """Returns each row's text and findings; a row with an ablation's question, above its findings, has None."""
    rows: list[tuple[str, Pair | None]] = []
    for index, pair in enumerate(pairs):
        if not index or pairs[index - 1].ablation != pair.ablation:
            rows.append((_wrapped(pair.question), None))
        second_share = f" ({models[1]}: {pair.other_share})" if pair.other_share else ""
        rows.append((_wrapped(pair.finding.claim + second_share), pair))
    return rows


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), CHARACTERS).replace("$", r"\$")


def _panel(axes: Axes, unit: str, rows: Sequence[tuple[str, Pair | None]], model_count: int) -> None:
    depth, positions = 0.0, []
    for text, pair in rows:
        lines = text.count("\n") + SPACED
        positions.append(-(depth + lines / 2))
        depth += lines
        if pair is not None:
            _draw_pair(axes, pair, positions[-1], model_count)
    axes.axvline(0, color="0.35", linewidth=0.8)
    if unit == POINTS:
        axes.axvspan(-POINT, POINT, color="0.93", zorder=0, linewidth=0)
        axes.set_xscale("symlog", linthresh=LINEAR)
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
        axes.xaxis.set_minor_locator(NullLocator())
        unit = "points beyond the claim's bound (grey: within one point of it)"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 6))))
    axes.set_xlabel(unit if unit.startswith(POINTS) else f"beyond the bound: {textwrap.fill(unit, 45)}", fontsize=7)
    axes.set_ylim(-depth, 0)
    axes.set_yticks(positions, [text for text, _ in rows], fontsize=7)
    for label, (_, pair) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("normal" if pair else "bold")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    finish(axes)
    axes.spines["left"].set_visible(False)


def _draw_pair(axes: Axes, pair: Pair, y: float, model_count: int) -> None:
    for model_index, finding in enumerate((pair.first, pair.second)):
        if finding is None or not math.isfinite(finding.ours.value):
            continue
        ours, shift = finding.ours, 0.5 * (0.5 - model_index) if model_count > 1 else 0.0
        color, hollow = COLORS[model_index], finding.verdict == "undecided"
        x = ours.value - finding.bound
        if math.isfinite(ours.low) and math.isfinite(ours.high):
            ends = [ours.low - finding.bound, ours.high - finding.bound]
            axes.plot(ends, [y + shift] * 2, color=color, linewidth=1.4, solid_capstyle="butt")
        face = "white" if hollow else color
        axes.plot(x, y + shift, MARKERS[model_index], color=color, markerfacecolor=face, markersize=4, zorder=3)
    if (papers_distance := _papers_distance(pair.finding)) is not None:
        axes.plot(papers_distance, y, "D", **PAPERS, zorder=4)


def _papers_distance(finding: Finding) -> float | None:
    """Returns the paper's number minus the bound; None if the record does not have that number in our unit."""
    return None if finding.printed is None else finding.printed - finding.bound


def _legend(figure: Figure, axes: Axes, models: Sequence[str], pairs: Sequence[Pair]) -> None:
    marks = []
    findings_by_model = [[pair.first for pair in pairs], [pair.second for pair in pairs]]
    for model, findings, color, marker in zip(models, findings_by_model, COLORS, MARKERS, strict=False):
        label = f"{model}, {_interval([finding for finding in findings if finding])} (hollow: undecided)"
        marks += axes.plot([], [], f"{marker}-", color=color, markersize=4, label=label)
    if any(_papers_distance(pair.finding) is not None for pair in pairs):
        marks += axes.plot([], [], "D", **PAPERS, label="the paper")
    figure.legend(handles=marks, loc="outside upper left", fontsize=7, frameon=False, ncols=2)


def _interval(findings: Sequence[Finding]) -> str:
    """Describes the drawn intervals in words: their confidence, or its range if there are several levels.

    Also says whether there are bounds without a spread, which have no confidence.
    """
    estimates = [finding.ours for finding in findings if math.isfinite(finding.ours.low + finding.ours.high)]
    confidences = [100 * ours.confidence for ours in estimates if ours.spread is not None]
    confidence_text = (
        " to ".join(f"{share:g}%" for share in sorted({min(confidences), max(confidences)})) if confidences else ""
    )
    other_bounds = " or bounds of another kind" if confidences and len(confidences) < len(estimates) else ""
    return f"{confidence_text} interval{other_bounds}".strip()
