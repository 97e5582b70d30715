"""``quantization.json``: the source of a quantized model, how it was quantized, and the errors of rounding."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from atv.records.files import read_json, write_json
from atv.records.typed import Count, Number, holding, typed

QUANTIZATION, SCHEMA = "quantization.json", 1

_Positive = Annotated[int, Field(strict=True, gt=0)]


@dataclass(frozen=True)
class _Settings:
    bits: _Positive
    group_size: _Positive | Literal["row"]
    targets: list[str]


@dataclass(frozen=True)
class _Bytes:
    before: Count
    after: Count


@dataclass(frozen=True)
class QuantizationRecord:
    """The record of a quantized model.

    Attributes:
        model: Name of the model that was quantized, as it was given.
        settings: Options of the quantization.
        calibration: The calibration samples.
        errors: Squared error that rounding causes in a Linear's outputs on the pool, as a share of their squares.
        bytes: Size of all tensors ``before`` and ``after``.
        scaled: Modules that took channel scales, each with the Linears that the scales are for.
        provenance: Versions, git revision and hardware.
    """

    model: str
    settings: Annotated[Mapping[str, Any], holding(_Settings)]
    calibration: Mapping[str, Any]
    errors: Mapping[str, Number]
    bytes: Annotated[Mapping[str, Count], holding(_Bytes)]
    scaled: Mapping[str, list[str]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def by_kind(self) -> dict[str, float]:
        """Returns the mean error by kind of Linear."""
        errors_by_kind: dict[str, list[float]] = {}
        for name, error in self.errors.items():
            errors_by_kind.setdefault(name.rpartition(".")[2], []).append(error)
        return {kind: sum(errors) / len(errors) for kind, errors in sorted(errors_by_kind.items())}

    def write(self, folder: Path) -> None:
        """Writes quantization.json atomically."""
        write_json(folder / QUANTIZATION, {"schema": SCHEMA, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the record in a folder.

        Raises:
            ValueError: if the file is missing, is not valid JSON, has a later schema, or is not such a record.
        """
        return typed(cls, read_json(folder / QUANTIZATION, SCHEMA), folder / QUANTIZATION)
