"""``cell.json``: what a finished cell is, and what it took. This alone writes and reads the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from atv.records.files import read_json, write_json
from atv.records.typed import Count, Finite, Number, Seconds, holding, typed

CELL = "cell.json"
# Beside it: the cell's answers, one row a question, or what else was measured of it.
ROWS = "rows.parquet"
# Raised by hand when the same inputs would give other numbers; cells of another schema are left alone.
CELL_SCHEMA = 2
# The perplexity of all texts together, beside each one's.
ALL = "all"
_MADE = ("versions", "git", "hardware")
# A text, what one of its windows cost, and how many tokens it predicted.
Window = tuple[str, Finite, Annotated[int, Field(strict=True, ge=1)]]


def titled(labels: Mapping[str, Any]) -> str:
    """What a cell of these labels is called: "method ATV, sparsity 0.5"."""
    return ", ".join(f"{name} {value}" for name, value in labels.items())


def _of_texts(read: dict[str, float]) -> dict[str, float]:
    if read and (ALL not in read or min(read.values()) <= 0):
        raise ValueError(f"expected numbers above 0, {ALL!r} among them")
    return read


@dataclass(frozen=True)
class _Config:
    seed: Annotated[int, Field(strict=True)] | None = None
    pathways: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    max_new_tokens: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    data: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class CellRecord:
    """A cell's id, everything that moves its numbers (``config``, digests of its ``inputs``), its labels, seconds by
    part, calibration samples, what it was made with, and, where plain English was read, its perplexity by text, and of
    the texts' windows (text, negative log-likelihood in nats, predicted tokens), which earlier versions did not keep.

    ``asked_with`` says how it was asked (``identity.asked_with``, with the length of answers by task), ``asked_from``
    what (evaluation and split, or data by benchmark); earlier versions told neither. ``ablation`` names the one whose
    own measurement it is; empty for what was pruned and asked, and in earlier versions. ``schema`` is that of the
    program that ran it.
    """

    id: str
    config: Annotated[Mapping[str, Any], holding(_Config)] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    samples: Count = 0
    made: Mapping[str, Any] = field(default_factory=dict)
    perplexity: Annotated[Mapping[str, Number], AfterValidator(_of_texts)] = field(default_factory=dict)
    windows: Sequence[Window] = ()
    asked_with: Annotated[Mapping[str, Any], holding(_Asked)] = field(default_factory=dict)
    asked_from: Annotated[Mapping[str, Any], holding(_Found)] = field(default_factory=dict)
    ablation: str = ""
    schema: int = CELL_SCHEMA

    def write(self, folder: Path) -> None:
        """Writes cell.json, atomically."""
        identity = {"id": self.id, "cell_schema": self.schema, "inputs": self.inputs}
        config = {"config": self.config, "labels": self.labels, "seconds": self.seconds, "samples": self.samples}
        read: dict[str, Any] = {"perplexity": dict(self.perplexity)} if self.perplexity else {}
        read |= {"windows": [list(window) for window in self.windows]} if self.windows else {}
        told = {"asked_with": dict(self.asked_with), "asked_from": dict(self.asked_from), "ablation": self.ablation}
        asked = {name: said for name, said in told.items() if said}
        write_json(folder / CELL, identity | config | read | asked | dict(self.made))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a cell's folder holds, of any schema.

        Raises:
            ValueError: for a file that is not there, is no JSON, or holds a value of another type.
        """
        content = read_json(folder / CELL, CELL_SCHEMA)
        made = {name: content[name] for name in _MADE if name in content}
        own = {"id": content.get("id", folder.name), "made": made, "schema": content.get("cell_schema", 1)}
        return typed(cls, content | own, folder / CELL)
