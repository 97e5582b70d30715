"""Origins of a folder according to its records, for callers that need nothing else and accept missing records."""

from pathlib import Path
from typing import Any

from atv.records.files import read_json
from atv.records.pruning_report import REPORT, SCHEMA
from atv.records.quantization_record import QUANTIZATION
from atv.records.quantization_record import SCHEMA as QUANTIZATION_SCHEMA


def recorded_base(folder: Path) -> str | None:
    """Returns the dense model that a folder's report names; None if there is no report or it names none."""
    base = _recorded(folder / REPORT, SCHEMA, "base")
    model = base.get("model") if isinstance(base, dict) else None
    return model if isinstance(model, str) else None


def recorded_samples(folder: Path) -> list[Any]:
    """Returns the records of the samples used for pruning, fine-tuning and quantization, in this order.

    An entry is None if the folder has no such record.
    """
    records = [_recorded(folder / REPORT, SCHEMA, name) for name in ("calibration", "finetuning")]
    return [*records, _recorded(folder / QUANTIZATION, QUANTIZATION_SCHEMA, "calibration")]


def _recorded(file: Path, schema: int, name: str) -> Any:
    try:
        return read_json(file, schema).get(name)
    except (ValueError, OSError):
        return None
