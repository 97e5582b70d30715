"""``cell.json``: the identity and cost of a finished cell. Only this module writes and reads the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from atv.records.files import read_json, write_json
from atv.records.typed import Count, Finite, Number, Seconds, holding, typed

CELL = "cell.json"
# In the same folder: the cell's answers, one row per question, or its other measurements.
ROWS = "rows.parquet"
# Incremented by hand when the same inputs would give different numbers; cells of a different schema are left alone.
CELL_SCHEMA = 2
# Key of the perplexity over all texts together, next to the keys of the single texts.
ALL = "all"
_PROVENANCE_KEYS = ("versions", "git", "hardware")
# The name of a text, the negative log-likelihood of one of its windows, and the number of tokens predicted in it.
Window = tuple[str, Finite, Annotated[int, Field(strict=True, ge=1)]]


def cell_title(labels: Mapping[str, Any]) -> str:
    """Returns the title of a cell with these labels, such as "method ATV, sparsity 0.5"."""
    return ", ".join(f"{name} {value}" for name, value in labels.items())


def _checked_perplexity(perplexity: dict[str, float]) -> dict[str, float]:
    if perplexity and (ALL not in perplexity or min(perplexity.values()) <= 0):
        raise ValueError(f"expected numbers above 0, including {ALL!r}")
    return perplexity


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
    """The record of a finished cell: its id, inputs, labels and cost, and its perplexity if it was measured.

    ``config`` and ``inputs`` (digests) hold everything that affects the cell's numbers. ``seconds`` is by part,
    ``samples`` counts the calibration samples, and ``made`` holds versions, git revision and hardware. If the cell was
    evaluated on plain English, ``perplexity`` is by text and ``windows`` lists the texts' windows (text, negative
    log-likelihood in nats, predicted tokens); earlier versions did not keep the windows.

    ``asked_with`` says how questions were asked (``identity.asked_with``, with the length of answers by task), and
    ``asked_from`` which ones (evaluation and split, or data by benchmark); earlier versions recorded neither.
    ``ablation`` names the ablation that took the measurement itself; it is empty for cells that were pruned and asked,
    and in earlier versions. ``schema`` is that of the program that ran the cell.
    """

    id: str
    config: Annotated[Mapping[str, Any], holding(_Config)] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    samples: Count = 0
    made: Mapping[str, Any] = field(default_factory=dict)
    perplexity: Annotated[Mapping[str, Number], AfterValidator(_checked_perplexity)] = field(default_factory=dict)
    windows: Sequence[Window] = ()
    asked_with: Annotated[Mapping[str, Any], holding(_Asked)] = field(default_factory=dict)
    asked_from: Annotated[Mapping[str, Any], holding(_Found)] = field(default_factory=dict)
    ablation: str = ""
    schema: int = CELL_SCHEMA

    def write(self, folder: Path) -> None:
        """Writes cell.json atomically."""
        identity = {"id": self.id, "cell_schema": self.schema, "inputs": self.inputs}
        config = {"config": self.config, "labels": self.labels, "seconds": self.seconds, "samples": self.samples}
        measurements: dict[str, Any] = {"perplexity": dict(self.perplexity)} if self.perplexity else {}
        measurements |= {"windows": [list(window) for window in self.windows]} if self.windows else {}
        optional_fields = {
            "asked_with": dict(self.asked_with),
            "asked_from": dict(self.asked_from),
            "ablation": self.ablation,
        }
        filled_fields = {name: value for name, value in optional_fields.items() if value}
        write_json(folder / CELL, identity | config | measurements | filled_fields | dict(self.made))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the record in a cell's folder, of any schema.

        Raises:
            ValueError: if the file is missing, is not valid JSON, or holds a value of the wrong type.
        """
        content = read_json(folder / CELL, CELL_SCHEMA)
        provenance = {name: content[name] for name in _PROVENANCE_KEYS if name in content}
        identity = {"id": content.get("id", folder.name), "made": provenance, "schema": content.get("cell_schema", 1)}
        return typed(cls, content | identity, folder / CELL)
