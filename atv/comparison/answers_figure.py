"""The figure of flipped answers: pictures beside their questions, with each model's answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Self

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from atv.comparison.answers import Answers
from atv.comparison.compared import Comparison
from atv.comparison.known_questions import KnownQuestions
from atv.data.wording import short

# Maximum numbers of pictures in the figure and of questions about each.
PICTURES, QUESTIONS = 3, 4
# Maximum numbers of lines shown of a question and of characters shown of each line.
_MAX_LINES, _LINE_LENGTH = 6, 150
# Maximum number of characters shown of an answer.
_ANSWER_LENGTH = 40
# Characters that fit into a line of the column of questions, and of the other columns.
_QUESTION_WIDTH, _ANSWER_WIDTH = 48, 14
# Height of a line in inches.
_LINE_HEIGHT = 0.15
_RIGHT_COLOUR, _WRONG_COLOUR = "#d7e9f7", "#fbe0c8"


@dataclass(frozen=True)
class _PictureRows:
    """A picture with its questions' rows in the tables of answers, the flipped ones first."""

    picture: Image
    rows: Sequence[Any]


@dataclass(frozen=True)
class _Table:
    """What the figure says about one picture's questions.

    Attributes:
        heads: headings of the columns: the question, the right answer, and the models.
        texts: one row of texts per question, wrapped to lines that fit.
        credits: credits of each question's answers, 0 to 1, by model.
    """

    heads: list[str]
    texts: list[list[str]]
    credits: list[list[float]]

    @classmethod
    def of(cls, models: Sequence[Answers], rows: Sequence[Any]) -> Self:
        names = [fill(short(model.name, 2 * _ANSWER_LENGTH), _ANSWER_WIDTH) for model in models]
        credits = [[model.rows["credit"][row] for model in models] for row in rows]
        return cls(["question", "right answer", *names], [_texts(models, row) for row in rows], credits)

    @property
    def lines(self) -> list[int]:
        """Number of lines of each question's longest cell, plus one to spare."""
        return [max(text.count("\n") for text in texts) + 2 for texts in self.texts]

    @property
    def all_lines(self) -> int:
        """Number of lines of all questions, plus two for the headings."""
        return sum(self.lines) + 2


def answers_figure(comparison: Comparison, known_questions: KnownQuestions) -> Figure | None:
    """Draws up to three pictures with up to four questions each, the right answer, and what each model answered.

    Of questions that belong together (rotations of one question), one is shown. If there are several seeds, the first
    of each model is shown.

    Returns:
        None if no answer flipped, or if no picture of such a question is available.
    """
    shown_pictures = _most_flipped(comparison, known_questions)
    if not shown_pictures:
        return None
    models = comparison.models
    tables = [_Table.of(models, shown_picture.rows) for shown_picture in shown_pictures]
    heights = [max(2.0, table.all_lines * _LINE_HEIGHT) for table in tables]
    # Colours that colour-blind readers can distinguish.
    with matplotlib.style.context("tableau-colorblind10"):
        width = 9.5 + 1.3 * max(0, len(models) - 3)
        figure = Figure(figsize=(width, sum(heights) + 0.4), layout="constrained")
        axes = figure.subplots(len(shown_pictures), 2, width_ratios=(1, 3.6), height_ratios=heights, squeeze=False)
    for (picture_axes, table_axes), shown_picture, table in zip(axes, shown_pictures, tables, strict=True):
        picture_axes.imshow(shown_picture.picture)
        picture_axes.axis("off")
        _draw(table_axes, table)
    questions = len(models[0].rows)
    title = f"The pictures with the most flipped answers, out of {questions:,} questions; right answers are blue"
    figure.suptitle(title, fontsize=9)
    return figure


def _most_flipped(comparison: Comparison, known: KnownQuestions) -> list[_PictureRows]:
    """Returns the available pictures whose questions have the most flipped answers, in descending order."""
    rows = comparison.models[0].rows
    if not {"picture", "question"} <= set(rows):
        return []
    table = rows[["picture", "group"]].assign(flipped=comparison.flipped)
    table = table[table["picture"].astype(bool)].sort_values("flipped", ascending=False, kind="stable")
    table = table.drop_duplicates(["picture", "group"])
    flips = table.groupby("picture")["flipped"].sum().sort_values(ascending=False, kind="stable")
    shown_pictures: list[_PictureRows] = []
    for digest in flips[flips > 0].index:
        row_labels = list(table.index[table["picture"] == digest][:QUESTIONS])
        if (picture := _first_picture(rows.loc[row_labels[0]].to_dict(), known)) is not None:
            shown_pictures.append(_PictureRows(picture, row_labels))
        if len(shown_pictures) == PICTURES:
            break
    return shown_pictures


def _first_picture(question: dict[Any, Any], known: KnownQuestions) -> Image | None:
    """Returns the first picture of a question; None if it has none or it is not available."""
    try:
        pictures = known.pictures(question)
    except (ValueError, OSError):
        return None
    return pictures[0].convert("RGB") if pictures else None


def _texts(models: Sequence[Answers], row: Any) -> list[str]:
    """Returns the question, the right answer, and what each model answered, wrapped to fit."""
    question_row = models[0].rows.loc[row]
    replies = [model.rows["prediction"][row].strip() or "(nothing)" for model in models]
    lines = question_row["question"].splitlines()[:_MAX_LINES]
    question = "\n".join(fill(short(line, _LINE_LENGTH), _QUESTION_WIDTH) for line in lines)
    return [
        question,
        *(fill(short(text, _ANSWER_LENGTH), _ANSWER_WIDTH) for text in (str(question_row["answer"]), *replies)),
    ]


def _draw(axes: Axes, table: _Table) -> None:
    axes.axis("off")
    answer_columns = len(table.heads) - 1
    colours = [
        ["white", "white", *(_RIGHT_COLOUR if credit >= 0.5 else _WRONG_COLOUR for credit in row)]
        for row in table.credits
    ]
    widths = [0.44, *[0.56 / answer_columns] * answer_columns]
    drawn_table = axes.table(
        table.texts, cellColours=colours, colLabels=table.heads, colWidths=widths, cellLoc="left", loc="center"
    )
    drawn_table.auto_set_font_size(False)
    drawn_table.set_fontsize(7.5)
    lines = [2, *table.lines]
    for (row, column), cell in drawn_table.get_celld().items():
        # In units of the cell's width.
        cell.PAD = 0.03 if column == 0 else 0.1
        # Texts may contain dollar signs.
        cell.get_text().set_parse_math(False)
        cell.set(height=lines[row] / table.all_lines, linewidth=0.3)
