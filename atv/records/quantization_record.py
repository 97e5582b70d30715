"""``quantization.json``: what a quantized model was made from, how, and what rounding lost."""

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
    """``model`` is what was quantized, as it was called; ``settings`` say how, ``calibration`` on which samples.

    ``errors`` has for each Linear what rounding changed of its outputs on the pool, squared, as a share of their own
    squares; ``scaled`` names what took scales of channels, and for which Linears; ``bytes`` are of all tensors
    ``before`` and ``after``; ``provenance`` has versions, git revision and hardware.
    """

    model: str
    settings: Annotated[Mapping[str, Any], holding(_Settings)]
    calibration: Mapping[str, Any]
    errors: Mapping[str, Number]
    bytes: Annotated[Mapping[str, Count], holding(_Bytes)]
    scaled: Mapping[str, list[str]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def by_kind(self) -> dict[str, float]:
        """Kind of Linear -> its mean error."""
        found: dict[str, list[float]] = {}
        for name, error in self.errors.items():
            found.setdefault(name.rpartition(".")[2], []).append(error)
        return {kind: sum(errors) / len(errors) for kind, errors in sorted(found.items())}

    def write(self, folder: Path) -> None:
        """Writes quantization.json, atomically."""
        write_json(folder / QUANTIZATION, {"schema": SCHEMA, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a folder holds.

        Raises:
            ValueError: for a file that is not there, is no JSON, of a later schema, or no such record.
        """
        return typed(cls, read_json(folder / QUANTIZATION, SCHEMA), folder / QUANTIZATION)
