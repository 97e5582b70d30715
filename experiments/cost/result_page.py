"""The benchmark as a Markdown page, a plot and JSON, named by date and hardware."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from atv.records.files import atomic, write_json, write_text
from atv.records.page_parts import markdown as table
from atv.runtime.timing import Row
from experiments.cost.scaling import Growth
from experiments.cost.whole_models import ATV, FLOOR

COLORS = {ATV: "#1d4ed8", FLOOR: "0.6"}


@dataclass(frozen=True)
class CostResults:
    """Everything that was measured, and where; ``facts`` has hardware, versions, git revision and the like."""

    date: str
    facts: dict[str, Any]
    rows: Sequence[Row]
    growths: Sequence[Growth]
    remarks: Sequence[str]

    @property
    def stem(self) -> str:
        """Date and hardware, in a form suitable for file names."""
        hardware = re.sub(r"[^a-z0-9]+", "-", self.facts["hardware"].lower()).strip("-")
        return f"{self.date}-{hardware}"


def write(folder: Path, results: CostResults) -> Path:
    """Writes <date>-<hardware>.md, .json and .png, and returns the page's path."""
    page = folder / f"{results.stem}.md"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(page.with_suffix(".json"), asdict(results))
    with atomic(page.with_suffix(".png")) as path:
        figure = plot(results.growths)
        figure.savefig(path, format="png", dpi=120)
        plt.close(figure)
    write_text(page, markdown(results))
    return page


def markdown(results: CostResults) -> str:
    """The text of the page."""
    facts = [f"- {name}: {_fact(value)}" for name, value in results.facts.items()]
    cost_table = table(["what", "seconds", "against", "ratio", "limit", "met"], map(cells, results.rows))
    header = ["quantity", "from, to", f"R² of {ATV}", "R² of the floor", f"{ATV} / floor at each size", "of the slopes"]
    growth_table = table(header, map(_growth, results.growths))
    return "\n".join(
        [
            f"# What pruning costs, {results.date}",
            "",
            *facts,
            "",
            "Medians over interleaved repeats, with the smallest and largest in brackets; ratios are taken within a "
            "repeat. The floor is two dense forward passes per decoder block and nothing else.",
            "",
            cost_table,
            "",
            *(f"- {remark}" for remark in results.remarks),
            "",
            "## Growth",
            "",
            f"![Seconds against samples, tokens, weights and blocks]({results.stem}.png)",
            "",
            "R² is that of the least-squares line. Attention is quadratic in tokens, for the floor as well. As the "
            "quantity grows, the ratios approach that of the slopes, because work that both sides do only once (vision "
            "tower, embeddings), and the one block pass that ATV-Pruning saves over the floor, weigh less and less.",
            "",
            growth_table,
            "",
        ]
    )


def cells(row: Row) -> list[str]:
    """A row of the table: what, seconds, against, ratio, limit, met."""
    limit = "" if row.limit is None else f"≤ {row.limit}"
    met = {None: "", True: "yes", False: "no"}[row.met]
    return [row.name, _spread(row.seconds), row.against, _spread(row.ratios), limit, met]


def plot(growths: Sequence[Growth]) -> Figure:
    """One panel per quantity: medians as points, with least-squares lines through them."""
    figure, panels = plt.subplots(1, len(growths), figsize=(3 * len(growths), 2.8), layout="constrained")
    for axes, growth in zip(panels, growths, strict=True):
        for name, seconds in growth.seconds.items():
            slope, intercept = growth.line(name)
            axes.plot(growth.sizes, seconds, "o", color=COLORS[name], label=name)
            axes.plot(growth.sizes, [slope * size + intercept for size in growth.sizes], color=COLORS[name])
        axes.set(xlabel=growth.axis, xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds")
    panels[0].legend(frameon=False)
    return figure


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    middle = f"{median(values):.3g}"
    return middle if min(values) == max(values) else f"{middle} [{min(values):.3g}, {max(values):.3g}]"


def _growth(growth: Growth) -> list[str]:
    fits = (f"{growth.r_squared(name):.4f}" for name in (ATV, FLOOR))
    slopes = growth.line(ATV)[0] / growth.line(FLOOR)[0]
    return [growth.axis, f"{growth.sizes[0]:.3g} to {growth.sizes[-1]:.3g}", *fits, _ratios(growth), f"{slopes:.2f}"]


def _ratios(growth: Growth) -> str:
    pairs = zip(growth.seconds[ATV], growth.seconds[FLOOR], strict=True)
    return ", ".join(f"{atv_seconds / floor_seconds:.2f}" for atv_seconds, floor_seconds in pairs)


def _fact(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
