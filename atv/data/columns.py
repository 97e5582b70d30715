"""Finds the columns of a data set that hold conversations, captions, pictures and ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atv.data.base import Conversation
from atv.data.pictures import undecoded
from atv.data.turns import captioned, pictures_in, turns_of
from atv.data.wording import short

CONVERSATION = ("conversations", "conversation", "messages")
CAPTION = ("caption", "text")
IMAGE = ("image", "images", "file_name")
PROMPT = "Describe this picture."


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold the text, the pictures and the ids; ``id`` is None if there are no ids.

    The text consists of turns or, if there is a ``prompt``, of a caption that answers it.
    """

    said: str
    image: str
    id: str | None
    prompt: str | None = None

    @classmethod
    def of(
        cls,
        column_names: Sequence[str],
        conversation: str | None,
        image: str | None,
        id: str,
        caption: str | None = None,
        prompt: str | None = None,
    ) -> "Columns":
        """Finds the named columns, or else those with a usual name; a caption counts if no turns are named or found.

        Args:
            prompt: the request that captions answer; None if only turns are read.

        Raises:
            ValueError: if a column is missing; the message lists the missing columns and the existing ones.
        """
        turns_column = (
            None if caption else _first_present(column_names, (conversation,) if conversation else CONVERSATION)
        )
        # Next to a question, a column called text may hold anything.
        usual_captions = () if "question" in column_names else CAPTION
        caption_column = (
            None
            if turns_column or conversation or not prompt
            else _first_present(column_names, (caption,) if caption else usual_captions)
        )
        image_column = _first_present(column_names, (image,) if image else IMAGE)
        found_columns = {
            conversation or caption or CONVERSATION[0]: turns_column or caption_column,
            image or IMAGE[0]: image_column,
        }
        if missing := [name for name, column in found_columns.items() if column is None]:
            option_names = "conversation, caption and image" if prompt else "conversation and image"
            raise ValueError(
                f"calibration: missing columns {', '.join(missing)}; found {short(', '.join(column_names))}. "
                f"To name others, use the options {option_names}"
            )
        return cls(
            str(turns_column or caption_column),
            str(image_column),
            id if id in column_names else None,
            prompt if caption_column else None,
        )

    def conversation_of(self, row: Mapping[str, Any], row_number: int, root: Path | None = None) -> Conversation:
        """Returns a row's conversation; without an id, the row's number is the id.

        Args:
            root: folder that relative paths to pictures start from.
        """
        id_cell = None if self.id is None else row.get(self.id)
        id = f"row {row_number}" if id_cell in (None, "") else str(id_cell)
        try:
            pictures = undecoded(row.get(self.image), root)
            turns = self._turns(row.get(self.said), bool(pictures))
            return Conversation(id, turns, pictures or pictures_in(turns, root))
        except ValueError as error:
            return Conversation(id, (), fault=str(error))

    def _turns(self, text_cell: Any, has_picture: bool) -> list[Mapping[str, Any]]:
        if self.prompt is None:
            return turns_of(text_cell)
        if not has_picture:
            raise ValueError(f"it has a caption but no picture in {self.image}")
        return captioned(self.prompt, text_cell)


def task_rows(tasks: Sequence[str | None], task: str, column: str) -> list[int]:
    """Returns the indices of a task's rows.

    Raises:
        ValueError: if the task has no rows; the message lists the existing tasks.
    """
    indices = [index for index, row_task in enumerate(tasks) if row_task == task]
    if not indices:
        raise ValueError(f"calibration: task {task!r} is not in {column}; found {some_of(tasks)}")
    return indices


def some_of(values: Sequence[str | None]) -> str:
    """Lists the distinct values, at most twenty."""
    distinct = sorted({short(value, 60) for value in values})
    return ", ".join(distinct[:20]) + (", ..." if len(distinct) > 20 else "")


def _first_present(columns: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)
