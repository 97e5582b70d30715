"""Which columns of a data set hold what."""

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
    """Names of the columns of what is said, of pictures and ids; ``id`` is None where there is none.

    What is said are turns or, where there is a ``prompt`` for it to answer, a caption.
    """

    said: str
    image: str
    id: str | None
    prompt: str | None = None

    @classmethod
    def of(
        cls,
        there: Sequence[str],
        conversation: str | None,
        image: str | None,
        id: str,
        caption: str | None = None,
        prompt: str | None = None,
    ) -> "Columns":
        """The columns that are named, or else those with a usual name; a caption where no turns are named or there.

        Args:
            prompt: what captions answer; None where only turns are read.

        Raises:
            ValueError: naming the missing columns and those that are there.
        """
        turns = None if caption else _find(there, (conversation,) if conversation else CONVERSATION)
        # Beside a question, a text may be anything.
        usual = () if "question" in there else CAPTION
        captions = None if turns or conversation or not prompt else _find(there, (caption,) if caption else usual)
        shown = _find(there, (image,) if image else IMAGE)
        wanted = {conversation or caption or CONVERSATION[0]: turns or captions, image or IMAGE[0]: shown}
        if missing := [name for name, column in wanted.items() if column is None]:
            others = "conversation, caption and image" if prompt else "conversation and image"
            raise ValueError(
                f"calibration: missing columns {', '.join(missing)}; there are {short(', '.join(there))}. The options "
                f"{others} name others"
            )
        return cls(str(turns or captions), str(shown), id if id in there else None, prompt if captions else None)

    def conversation_of(self, row: Mapping[str, Any], number: int, root: Path | None = None) -> Conversation:
        """A row's; without an id, its number is its id.

        Args:
            root: folder of relative paths to pictures.
        """
        named = None if self.id is None else row.get(self.id)
        id = f"row {number}" if named in (None, "") else str(named)
        try:
            pictures = undecoded(row.get(self.image), root)
            turns = self._turns(row.get(self.said), bool(pictures))
            return Conversation(id, turns, pictures or pictures_in(turns, root))
        except ValueError as error:
            return Conversation(id, (), fault=str(error))

    def _turns(self, said: Any, shown: bool) -> list[Mapping[str, Any]]:
        if self.prompt is None:
            return turns_of(said)
        if not shown:
            raise ValueError(f"it has a caption and no picture in {self.image}")
        return captioned(self.prompt, said)


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
