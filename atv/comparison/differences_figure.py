"""The differences of a comparison as a figure: one row a task, one colour a model."""

import matplotlib.style
from matplotlib.figure import Figure

from atv.comparison.compared import Comparison


def differences_figure(comparison: Comparison) -> Figure:
    """By how many points each model's score differs from the first's, with its 95% interval; the average on top."""
    tasks = list(dict.fromkeys(row.task for row in comparison.rows))
    others = comparison.models[1:]
    # Told apart by the colour-blind.
    with matplotlib.style.context("tableau-colorblind10"):
        height = 1.2 + len(tasks) * (0.25 + 0.17 * len(others)) + 0.2 * len(others)
        figure = Figure(figsize=(7, height), layout="constrained")
        axes = figure.subplots()
        for number, model in enumerate(others):
            rows = [row for row in comparison.rows if row.model == model.name and not row.category]
            # Models of one task lie close together, the first on top.
            places = [-tasks.index(row.task) - 0.7 * (number + 0.5 - len(others) / 2) / len(others) for row in rows]
            effects = [row.effect for row in rows]
            spread = [[each.value - each.low for each in effects], [each.high - each.value for each in effects]]
            axes.errorbar([each.value for each in effects], places, xerr=spread, fmt="o", capsize=3, label=model.name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks([-place for place in range(len(tasks))], tasks)
    axes.set_xlabel(f"points of score beside {comparison.models[0].name}, with 95% intervals")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", fontsize="small")
    return figure
