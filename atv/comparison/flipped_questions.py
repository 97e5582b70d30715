"""The questions whose answers flipped, with their pictures and each model's answers, ready for the page."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from PIL.Image import Image

from atv.comparison.answers import Answers, as_lists
from atv.comparison.compared import Comparison, changes
from atv.comparison.known_questions import KnownQuestions
from atv.data.wording import reason
from atv.records.page_parts import data_url

# Longer side of a picture on the page, in pixels: the maximum, and the limit for sharp pictures, stored as PNG.
SIDE, SMALL = 320, 128


@dataclass(frozen=True)
class Reply:
    """A model's answer: its text and credit (0 to 1), and whether that is "lost", "gained" or neither ("")."""

    model: str
    text: str
    credit: float
    change: str = ""


@dataclass(frozen=True)
class FlippedQuestion:
    """A question that some model answered better or worse than the first.

    Attributes:
        text: text of the question; "" if the answers do not contain it.
        right: the right answer, or the most frequent answers of people.
        replies: replies of all models, starting with the first model's.
        pictures: pictures as data URLs.
        no_picture: why there is no picture; "" if there is one or none was shown.
    """

    question_id: str
    category: str
    text: str
    right: str
    replies: list[Reply]
    pictures: list[str] = field(default_factory=list)
    no_picture: str = ""


def flipped_questions(
    comparison: Comparison, known_questions: KnownQuestions, most: int
) -> dict[str, list[FlippedQuestion]]:
    """Returns task -> questions that flipped, spread evenly over tasks, and over lost and gained ones.

    If there are several seeds, the first of each model is shown.

    Args:
        known_questions: source of the questions' pictures.
        most: maximum number of questions in total.
    """
    first = comparison.models[0]
    changes_by_model = [changes(first.rows, other.rows) for other in comparison.models[1:]]
    lost = pd.concat([model_changes["lost"] for model_changes in changes_by_model], axis=1).any(axis=1)
    # Assigned before selecting: an empty table would take on the rows of what is assigned to it.
    flipped = first.rows.assign(lost=lost)[comparison.flipped]
    turn = flipped.groupby(["task", "lost"]).cumcount()
    flipped = flipped.assign(turn=turn).sort_values(["turn", "lost"], ascending=[True, False], kind="stable")
    by_task: dict[str, list[FlippedQuestion]] = {task: [] for task in first.tasks}
    for row_label, row in flipped.head(most).iterrows():
        replies = _replies(comparison.models, row_label, changes_by_model)
        by_task[row["task"]].append(_flipped_question(row.to_dict(), replies, known_questions))
    return {task: questions for task, questions in by_task.items() if questions}


def _replies(models: Sequence[Answers], row_label: Any, changes_by_model: Sequence[pd.DataFrame]) -> list[Reply]:
    """Returns what each model answered to the question in row ``row_label``.

    ``changes_by_model`` says what changed, for all models but the first.
    """
    first, *others = models
    replies = [_reply(first, row_label)]
    for other, model_changes in zip(others, changes_by_model, strict=True):
        change = "lost" if model_changes["lost"][row_label] else "gained" if model_changes["gained"][row_label] else ""
        replies.append(_reply(other, row_label, change))
    return replies


def _reply(model: Answers, row_label: Any, change: str = "") -> Reply:
    row = model.rows.loc[row_label]
    return Reply(model.name, row["prediction"], float(row["credit"]), change)


def _flipped_question(row: Mapping[Any, Any], replies: list[Reply], known: KnownQuestions) -> FlippedQuestion:
    pictures, no_picture = _picture_urls(row, known)
    question = row.get("question") or ""
    return FlippedQuestion(
        row["question_id"], row["category"], question, _right_answer(row), replies, pictures, no_picture
    )


def _right_answer(row: Mapping[Any, Any]) -> str:
    """Returns the right answer, or the most frequent answers of people with their counts."""
    answers = as_lists(row.get("answers"))
    if row["answer"] or not isinstance(answers, list) or not answers:
        return str(row["answer"])
    return ", ".join(f"{text} ({count})" for text, count in Counter(answers).most_common(3))


def _picture_urls(row: Mapping[Any, Any], known: KnownQuestions) -> tuple[list[str], str]:
    """Returns the question's pictures as data URLs, and why they cannot be shown, "" if they can."""
    try:
        return [_thumbnail_url(picture) for picture in known.pictures(row)], ""
    except (ValueError, OSError) as error:
        return [], reason(error)


def _thumbnail_url(picture: Image) -> str:
    """Returns a picture as a data URL, with no side longer than ``SIDE``."""
    thumbnail, stream = picture.convert("RGB"), io.BytesIO()
    thumbnail.thumbnail((SIDE, SIDE))
    image_format = "png" if max(thumbnail.size) <= SMALL else "jpeg"
    thumbnail.save(stream, image_format, quality=80)
    return data_url(stream.getvalue(), image_format)
