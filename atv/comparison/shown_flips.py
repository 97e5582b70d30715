"""The questions whose answers flipped, chosen and made ready to be shown with their pictures."""

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from PIL.Image import Image

from atv.comparison.answers import Answers, as_lists
from atv.comparison.compared import Comparison, changes
from atv.comparison.known_questions import KnownQuestions
from atv.data.wording import reason

# Pixels of the longer side on the page; small pictures stay as they are, and sharp.
SIDE, SMALL = 320, 128


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
