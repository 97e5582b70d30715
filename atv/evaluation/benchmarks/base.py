"""The base class of benchmarks: where the rows are, how a row becomes a prompt, and which score is used."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from atv.data.conversations import require_columns
from atv.evaluation.benchmarks.source import Source

Row = Mapping[str, Any]
BRIEFLY = "\nAnswer the question using a single word or phrase."
BY_LETTER = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class Question:
    """The question of a row, without its pictures, and the correct answer.

    ``text`` is the whole user turn; "<image 2>" in it stands for picture 2. ``group`` names the questions that count
    as one (default: each question by itself). ``options`` have the letters from A on, with "" for a letter that has no
    option. ``answers`` are those of several people, if the score needs them.
    """

    text: str
    answer: str = ""
    group: str = ""
    category: str = ""
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Benchmark(ABC):
    """Base class of benchmarks; ``atv evaluate --benchmark NAME`` finds a subclass by its name.

    A subclass fits in one short file. ``hub``, ``config`` and ``split`` say where the data set is (``former_hub``: its
    name before it moved). ``columns`` are the columns that it must have, ``identity`` those that tell rows apart, and
    ``picture_columns`` those that hold pictures. ``metric`` is a class of ``atv.evaluation.metrics``,
    ``max_new_tokens`` the maximum length of an answer, and ``lmms_eval`` the name of the same task in lmms-eval, if
    there is one. ``version`` is incremented when a prompt or a score changes, so that results of different versions are
    never compared. Every question needs a picture unless ``needs_picture`` is False.
    """

    hub: str
    former_hub: str | None = None
    config: str | None = None
    split: str
    columns: tuple[str, ...]
    identity: tuple[str, ...]
    picture_columns: tuple[str, ...] = ("image",)
    needs_picture: bool = True
    metric: str
    max_new_tokens: int
    lmms_eval: str = ""
    version: str = "2"

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def ask(self, row: Row) -> Question:
        """Returns the question of a row, which has no pictures except those in ``identity`` columns, undecoded."""

    def pictures(self, row: Row) -> dict[int, Any]:
        """Returns the row's pictures by number, from 1: decoded, or whatever ``atv.data.pictures.undecoded`` accepts.

        Rows from the hub have decoded pictures; those of a local copy have bytes and path. By default, a picture's
        number is its position in ``picture_columns``.

        Raises:
            ValueError: if there is no picture and one is needed.
        """
        cells = {number: row.get(column) for number, column in enumerate(self.picture_columns, 1)}
        present_cells = {number: cell for number, cell in cells.items() if cell is not None}
        if self.needs_picture and not present_cells:
            raise ValueError(f"it has no picture ({', '.join(self.picture_columns)})")
        return present_cells

    def keep(self, row: Row) -> bool:
        """Whether the row is a question of the benchmark; ``row`` is as in ``ask``."""
        return True

    def load(self, source: Source) -> Dataset:
        """Loads the rows of the benchmark's split.

        Raises:
            ValueError: if the data cannot be found or read, or lack columns.
        """
        rows = source.read(self.config, self.split)
        require_columns(rows, self.columns, self.name)
        return rows

    def total(self, score: float) -> tuple[float, float]:
        """Returns the score as the benchmark reports it, and its maximum."""
        return 100 * score, 100.0

    def provenance(self) -> dict[str, Any]:
        """Returns what pins the benchmark in a result row."""
        return {"version": self.version, "hub": self.hub, "config": self.config, "split": self.split}
