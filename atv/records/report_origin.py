"""What a folder's records say of where it comes from, where no more of them is needed and there may be none."""

from pathlib import Path
from typing import Any

from atv.records.files import read_json
from atv.records.pruning_report import REPORT, SCHEMA
from atv.records.quantization_record import QUANTIZATION
from atv.records.quantization_record import SCHEMA as QUANTIZATION_SCHEMA


def recorded_base(folder: Path) -> str | None:
    """The dense model that a folder's report names; None for no report, or one that does not say."""
    base = _recorded(folder / REPORT, SCHEMA, "base")
    model = base.get("model") if isinstance(base, dict) else None
    return model if isinstance(model, str) else None


def recorded_samples(folder: Path) -> list[Any]:
    """What a folder's records say of the samples that it was pruned, fine-tuned and quantized with, in this order; None
    where there is no such record."""
    report = [_recorded(folder / REPORT, SCHEMA, name) for name in ("calibration", "finetuning")]
    return [*report, _recorded(folder / QUANTIZATION, QUANTIZATION_SCHEMA, "calibration")]


def _recorded(file: Path, schema: int, name: str) -> Any:
    try:
        return read_json(file, schema).get(name)
    except (ValueError, OSError):
        return None
