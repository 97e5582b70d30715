"""The questions whose answers flipped, with their pictures: ready for the page, and a few as a figure of all models."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from atv.comparison.answers import Answers, as_lists
from atv.comparison.compared import Comparison, changes
from atv.comparison.known_questions import KnownQuestions
from atv.data.wording import reason, short

# Pixels of the longer side on the page; small pictures stay as they are, and sharp.
SIDE, SMALL = 320, 128
PICTURES, QUESTIONS = 3, 4
# Characters of a line, of a question's line and of an answer, and of an answer's line; lines of a question.
_LINE, _QUESTION, _ANSWER, _COLUMN, _LINES = 48, 150, 40, 14, 6
# Inches of a line.
_HEIGHT = 0.15
_RIGHT, _WRONG = "#d7e9f7", "#fbe0c8"


@dataclass(frozen=True)
class Reply:
    """What a model said: its text and credit (0 to 1), and whether that is "lost", "gained" or neither ("")."""

    model: str
    text: str
    credit: float
    change: str = ""


@dataclass(frozen=True)
class Flip:
    """A question that some model answered better or worse than the first.

    Attributes:
        text: of the question; "" where the answers do not hold it.
        pictures: as addresses that hold them whole.
        unseen: why no picture is there, "" where one is or none was shown.
        replies: of all models, the first's first.
    """

    question_id: str
    category: str
    text: str
    right: str
    replies: list[Reply]
    pictures: list[str] = field(default_factory=list)
    unseen: str = ""


def chosen_flips(comparison: Comparison, known: KnownQuestions, most: int) -> dict[str, list[Flip]]:
    """Task -> questions that flipped, spread evenly over tasks, and over lost and gained ones.

    With several seeds the first of each model is shown.

    Args:
        most: how many questions in all.
    """
    first = comparison.models[0]
    marks = [changes(first.rows, other.rows) for other in comparison.models[1:]]
    lost = pd.concat([mark["lost"] for mark in marks], axis=1).any(axis=1)
    # Marked first: an empty table would take on the rows of what is assigned to it.
    flipped = first.rows.assign(lost=lost)[comparison.flipped]
    turn = flipped.groupby(["task", "lost"]).cumcount()
    flipped = flipped.assign(turn=turn).sort_values(["turn", "lost"], ascending=[True, False], kind="stable")
    by_task: dict[str, list[Flip]] = {task: [] for task in first.tasks}
    for place, row in flipped.head(most).iterrows():
        by_task[row["task"]].append(_flip(row.to_dict(), place, comparison, marks, known))
    return {task: flips for task, flips in by_task.items() if flips}


def _flip(
    row: Mapping[Any, Any], place: Any, comparison: Comparison, marks: list[pd.DataFrame], known: KnownQuestions
) -> Flip:
    first, *others = comparison.models
    replies = [_reply(first, place)]
    for other, mark in zip(others, marks, strict=True):
        change = "lost" if mark["lost"][place] else "gained" if mark["gained"][place] else ""
        replies.append(_reply(other, place, change))
    pictures, unseen = _pictures(row, known)
    question = row.get("question") or ""
    return Flip(row["question_id"], row["category"], question, _right(row), replies, pictures, unseen)


def _reply(model: Answers, place: Any, change: str = "") -> Reply:
    row = model.rows.loc[place]
    return Reply(model.name, row["prediction"], float(row["credit"]), change)


def _right(row: Mapping[Any, Any]) -> str:
    """The right answer, or the most frequent of people's."""
    answers = as_lists(row.get("answers"))
    if row["answer"] or not isinstance(answers, list) or not answers:
        return str(row["answer"])
    return ", ".join(f"{text} ({count})" for text, count in Counter(answers).most_common(3))


def _pictures(row: Mapping[Any, Any], known: KnownQuestions) -> tuple[list[str], str]:
    try:
        return [address(picture) for picture in known.pictures(row)], ""
    except (ValueError, OSError) as error:
        return [], reason(error)


def address(picture: Image) -> str:
    """A picture, no side longer than ``SIDE``, as an address that holds it whole."""
    small, stream = picture.convert("RGB"), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    kind = "PNG" if max(small.size) <= SMALL else "JPEG"
    small.save(stream, kind, quality=80)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode()


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
        # What people write may have dollars in it.
        cell.get_text().set_parse_math(False)
        cell.set(height=(2 if row == 0 else lines[row - 1] + 1) / whole, linewidth=0.3)
