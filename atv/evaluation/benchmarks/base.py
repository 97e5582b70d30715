"""What a benchmark is: where its rows are, how a row becomes a prompt, and which score it has."""

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
    """What a row asks, without its pictures, and what is right.

    ``text`` is the whole user turn; "<image 2>" in it stands for picture 2. ``group`` names the questions that count
    as one (default: each by itself); ``options`` have the letters from A on, "" where there is none of a letter;
    ``answers`` are people's, where the score wants them.
    """

    text: str
    answer: str = ""
    group: str = ""
    category: str = ""
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Benchmark(ABC):
    """Derive from this in one short file; ``atv evaluate --benchmark NAME`` finds it by its class name.

    ``hub``, ``config`` and ``split`` say where the data set is (``former_hub``: its name before it moved), ``columns``
    what it must have, ``identity`` which of them tell rows apart, ``picture_columns`` which hold pictures, ``metric``
    the class of ``atv.evaluation.metrics``, ``max_new_tokens`` how long an answer may get, ``lmms_eval`` the name of
    the same task there, if there is one. ``version`` is raised when a prompt or a score changes, so that results of
    different versions are never compared. Every question needs a picture unless ``needs_picture`` is False.
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
        """The question of a row; ``row`` has no pictures (but those named by ``identity``, undecoded)."""

    def pictures(self, row: Row) -> dict[int, Any]:
        """The row's pictures by number, from 1 on: decoded, or whatever ``atv.data.pictures.undecoded`` takes.

        Rows of the hub have them decoded, those of a local copy as bytes and path. By default a picture has the number
        of its place in ``picture_columns``.

        Raises:
            ValueError: where there is none and one is needed.
        """
        cells = {number: row.get(column) for number, column in enumerate(self.picture_columns, 1)}
        shown = {number: cell for number, cell in cells.items() if cell is not None}
        if self.needs_picture and not shown:
            raise ValueError(f"it has no picture ({', '.join(self.picture_columns)})")
        return shown

    def keep(self, row: Row) -> bool:
        """Whether the row is a question of the benchmark; ``row`` is as in ``ask``."""
        return True

    def load(self, source: Source) -> Dataset:
        """The rows of the benchmark's split.

        Raises:
            ValueError: for data that cannot be found or read, or lack columns.
        """
        rows = source.read(self.config, self.split)
        require_columns(rows, self.columns, self.name)
        return rows

    def total(self, score: float) -> tuple[float, float]:
        """The score as the benchmark reports it, and its maximum."""
        return 100 * score, 100.0

    def provenance(self) -> dict[str, Any]:
        """What pins the benchmark in a result row."""
        return {"version": self.version, "hub": self.hub, "config": self.config, "split": self.split}
