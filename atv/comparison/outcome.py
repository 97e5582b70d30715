"""Writes a comparison to a folder: comparison.json, differences.png, answers.png and comparison.html."""

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure

from atv.comparison.answers_figure import answers_figure
from atv.comparison.compared import Comparison
from atv.comparison.flipped_questions import FlippedQuestion, flipped_questions
from atv.comparison.known_questions import KnownQuestions
from atv.data.wording import short
from atv.figures.saving import save_figure
from atv.records.files import write_json, write_text
from atv.records.page_parts import data_url, template
from atv.records.provenance import provenance
from atv.statistics.paired_scores import RESAMPLES, SWAPS, Effect, written_p

JSON, FIGURE, PICTURES, PAGE = "comparison.json", "differences.png", "answers.png", "comparison.html"
SCHEMA = 1
# Maximum number of characters of an answer on the page.
LONGEST = 600


def write_comparison(comparison: Comparison, folder: Path, known_questions: KnownQuestions, flips: int) -> Path:
    """Writes the four files, each atomically; no answers.png if no picture with a flipped answer is available.

    Args:
        known_questions: source of the questions' pictures.
        flips: maximum number of flipped questions on the page.

    Returns:
        The path of the page.
    """
    write_json(folder / JSON, as_json(comparison))
    save_figure(differences_figure(comparison), folder / FIGURE)
    if (figure := answers_figure(comparison, known_questions)) is None:
        (folder / PICTURES).unlink(missing_ok=True)
    else:
        save_figure(figure, folder / PICTURES)
    text = page(comparison, flipped_questions(comparison, known_questions, flips), (folder / FIGURE).read_bytes())
    write_text(folder / PAGE, text)
    return folder / PAGE


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Returns everything but the questions: models, and a row for each model's average, tasks and categories."""
    models = [
        {"name": model.name, "sources": model.sources, "seeds": model.seeds}
        | {"asked_with_recorded": model.name not in comparison.unrecorded}
        | {"unended": comparison.fluency[model.name].unended, "repeating": comparison.fluency[model.name].repeating}
        for model in comparison.models
    ]
    rows = []
    for row in comparison.rows:
        record = asdict(row)
        effect, flips = record.pop("effect"), record.pop("flips")
        # JSON has no infinite numbers, which stand for missing bounds.
        effect |= {bound: effect[bound] if isfinite(effect[bound]) else None for bound in ("low", "high")}
        rows.append(record | {"difference": effect.pop("value")} | effect | flips)
    settings = {"resamples": RESAMPLES, "swaps": SWAPS, "pictures_known": comparison.pictured}
    return {"schema": SCHEMA, "models": models, "rows": rows} | settings | provenance()


def page(comparison: Comparison, flips: dict[str, list[FlippedQuestion]], figure: bytes) -> str:
    """Returns the text of comparison.html, which needs no other file.

    Args:
        figure: the content of a PNG file.
    """
    filters: dict[str, Any] = {"difference": difference, "p_value": written_p, "count": count, "share": share}
    return template("comparison", "comparison.html.jinja", filters).render(
        comparison=comparison,
        flips=flips,
        shown=sum(map(len, flips.values())),
        flipped=int(comparison.flipped.sum()),
        figure=data_url(figure, "png"),
        said=lambda text: short(text, LONGEST),
    )


def difference(effect: Effect) -> str:
    """Formats a difference with its interval, as tables show it; a single group of questions has no spread."""
    interval = f"[{signed(effect.low)}, {signed(effect.high)}]" if isfinite(effect.low) else "(one group)"
    return f"{signed(effect.value)} {interval}"


def signed(value: float) -> str:
    """Formats points with their sign.

    >>> signed(1.234), signed(-0.001), signed(float("inf"))
    ('+1.23', '0.00', '+inf')
    """
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "\N{MINUS SIGN}")


def count(value: float) -> str:
    """Formats a count, or the mean of several seeds' counts.

    >>> count(12.0), count(12.5), count(1200.0)
    ('12', '12.5', '1,200')
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def share(value: float | None) -> str:
    """Formats a share in percent, or says that it was not recorded.

    >>> share(0.123), share(None)
    ('12.3', 'not recorded')
    """
    return "not recorded" if value is None else f"{100 * value:.1f}"


def differences_figure(comparison: Comparison) -> Figure:
    """Draws each model's difference in score from the first, in points with 95% intervals; the average is on top."""
    tasks = list(dict.fromkeys(row.task for row in comparison.rows))
    others = comparison.models[1:]
    # Colours that colour-blind readers can distinguish; names may contain dollar signs.
    with matplotlib.style.context(["tableau-colorblind10", {"text.parse_math": False}]):
        height = 1.2 + len(tasks) * (0.25 + 0.17 * len(others)) + 0.2 * len(others)
        figure = Figure(figsize=(7, height), layout="constrained")
        axes = figure.subplots()
        for model_index, model in enumerate(others):
            rows = [row for row in comparison.rows if row.model == model.name and not row.category]
            # Models of one task lie close together, the first on top.
            positions = [
                -tasks.index(row.task) - 0.7 * (model_index + 0.5 - len(others) / 2) / len(others) for row in rows
            ]
            effects = [row.effect for row in rows]
            error_bars = [
                [effect.value - effect.low for effect in effects],
                [effect.high - effect.value for effect in effects],
            ]
            axes.errorbar(
                [effect.value for effect in effects], positions, xerr=error_bars, fmt="o", capsize=3, label=model.name
            )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks([-position for position in range(len(tasks))], tasks)
        axes.set_xlabel(f"difference in score from {comparison.models[0].name} in points, with 95% intervals")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", fontsize="small")
    return figure
