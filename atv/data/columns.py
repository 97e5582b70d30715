"""Which columns of a data set hold what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atv.data.base import Conversation
from atv.data.pictures import undecoded
from atv.data.turns import turns_of
from atv.data.wording import short

CONVERSATION = ("conversations", "conversation", "messages")
IMAGE = ("image", "images")


@dataclass(frozen=True)
class Columns:
    """Names of the columns of conversations, pictures and ids; ``id`` is None where there is none."""

    conversation: str
    image: str
    id: str | None

    @classmethod
    def of(cls, there: Sequence[str], conversation: str | None, image: str | None, id: str) -> "Columns":
        """The columns that are named, or else those with a usual name.

        Raises:
            ValueError: naming the missing columns and those that are there.
        """
        wanted = ((conversation, CONVERSATION), (image, IMAGE))
        columns = [_find(there, (name,) if name else usual) for name, usual in wanted]
        missing = [name or usual[0] for (name, usual), column in zip(wanted, columns, strict=True) if column is None]
        if missing:
            raise ValueError(
                f"calibration: missing columns {', '.join(missing)}; there are {', '.join(there)}. The options "
                "conversation and image name others"
            )
        return cls(str(columns[0]), str(columns[1]), id if id in there else None)

    def conversation_of(self, row: Mapping[str, Any], number: int, root: Path | None = None) -> Conversation:
        """A row's; without an id, its number is its id.

        Args:
            root: folder of relative paths to pictures.
        """
        named = None if self.id is None else row.get(self.id)
        id = f"row {number}" if named in (None, "") else str(named)
        try:
            return Conversation(id, turns_of(row.get(self.conversation)), undecoded(row.get(self.image), root))
        except ValueError as error:
            return Conversation(id, (), fault=str(error))


def task_rows(tasks: Sequence[str | None], task: str, column: str) -> list[int]:
    """Numbers of the rows of a task.

    Raises:
        ValueError: when there is none; the message says which tasks there are.
    """
    numbers = [number for number, given in enumerate(tasks) if given == task]
    if not numbers:
        raise ValueError(f"calibration: task {task!r} is not in {column}; there are {some_of(tasks)}")
    return numbers


def some_of(values: Sequence[str | None]) -> str:
    """The values that occur, at most twenty."""
    different = sorted({short(value, 60) for value in values})
    return ", ".join(different[:20]) + (", ..." if len(different) > 20 else "")


def _find(there: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in there), None)
