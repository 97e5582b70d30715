"""What models say about a few pictures, beside each other: the pictures on which most answers flipped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from atv.comparison.answers import Answers
from atv.comparison.compared import Comparison
from atv.comparison.known_questions import KnownQuestions
from atv.data.wording import short

PICTURES, QUESTIONS = 3, 4
# Characters of a line, of a question's line and of an answer, and of an answer's line; lines of a question.
_LINE, _QUESTION, _ANSWER, _COLUMN, _LINES = 48, 150, 40, 14, 6
# Inches of a line.
_HEIGHT = 0.15
_RIGHT, _WRONG = "#d7e9f7", "#fbe0c8"


@dataclass(frozen=True)
class _Asked:
    """A picture with the places of its questions in the tables of answers, those that flipped first."""

    picture: Image
    places: Sequence[Any]


def answers_figure(comparison: Comparison, known: KnownQuestions) -> Figure | None:
    """Up to three pictures with up to four questions each, what is right, and what each model said.

    Of questions that belong together (rotations of one question) one is shown. With several seeds the first of each
    model is shown.

    Returns:
        None where no answer flipped, or no picture of such a question is at hand.
    """
    shown = _chosen(comparison, known)
    if not shown:
        return None
    rows = comparison.models[0].rows
    texts = [[_cells(comparison.models, place) for place in asked.places] for asked in shown]
    lines = [[max(text.count("\n") for text in cells) + 1 for cells in each] for each in texts]
    heights = [max(2.0, (sum(each) + len(each) + 2) * _HEIGHT) for each in lines]
    # Told apart by the colour-blind.
    with matplotlib.style.context("tableau-colorblind10"):
        wide = 9.5 + 1.3 * max(0, len(comparison.models) - 3)
        figure = Figure(figsize=(wide, sum(heights) + 0.4), layout="constrained")
        axes = figure.subplots(len(shown), 2, width_ratios=(1, 3.6), height_ratios=heights, squeeze=False)
    for (left, right), asked, cells, counts in zip(axes, shown, texts, lines, strict=True):
        left.imshow(asked.picture)
        left.axis("off")
        credits = [[model.rows["credit"][place] for model in comparison.models] for place in asked.places]
        heads = ["question", "right", *(fill(short(model.name, 2 * _ANSWER), _COLUMN) for model in comparison.models)]
        _table(right, heads, cells, credits, counts)
    said = f"The pictures on which most answers flipped, of {len(rows):,} questions; right answers are blue"
    figure.suptitle(said, fontsize=9)
    return figure


def _chosen(comparison: Comparison, known: KnownQuestions) -> list[_Asked]:
    rows = comparison.models[0].rows
    if not {"picture", "question"} <= set(rows):
        return []
    table = rows[["picture", "group"]].assign(flipped=comparison.flipped)
    table = table[table["picture"].astype(bool)].sort_values("flipped", ascending=False, kind="stable")
    table = table.drop_duplicates(["picture", "group"])
    most = table.groupby("picture")["flipped"].sum().sort_values(ascending=False, kind="stable")
    shown: list[_Asked] = []
    for name in most[most > 0].index:
        places = list(table.index[table["picture"] == name][:QUESTIONS])
        if (picture := _picture(rows.loc[places[0]].to_dict(), known)) is not None:
            shown.append(_Asked(picture, places))
        if len(shown) == PICTURES:
            break
    return shown


def _picture(row: Mapping[Any, Any], known: KnownQuestions) -> Image | None:
    try:
        pictures = known.pictures(row)
    except (ValueError, OSError):
        return None
    return pictures[0].convert("RGB") if pictures else None


def _cells(models: Sequence[Answers], place: Any) -> list[str]:
    """The question, what is right, and what each model said."""
    row = models[0].rows.loc[place]
    said = [model.rows["prediction"][place].strip() or "(nothing)" for model in models]
    question = "\n".join(fill(short(line, _QUESTION), _LINE) for line in row["question"].splitlines()[:_LINES])
    return [question, *(fill(short(text, _ANSWER), _COLUMN) for text in (str(row["answer"]), *said))]


def _table(
    axes: Axes, heads: list[str], cells: list[list[str]], credits: list[list[float]], lines: Sequence[int]
) -> None:
    axes.axis("off")
    models = len(heads) - 2
    colours = [["white", "white", *(_RIGHT if credit >= 0.5 else _WRONG for credit in each)] for each in credits]
    widths = [0.44, *[0.56 / (models + 1)] * (models + 1)]
    table = axes.table(cells, cellColours=colours, colLabels=heads, colWidths=widths, cellLoc="left", loc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    whole = sum(lines) + len(lines) + 2
    for (row, column), cell in table.get_celld().items():
        # A share of the cell's width.
        cell.PAD = 0.03 if column == 0 else 0.1
        cell.set(height=(2 if row == 0 else lines[row - 1] + 1) / whole, linewidth=0.3)
