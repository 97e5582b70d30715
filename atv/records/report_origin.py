"""What a folder's report.json says of where it comes from, where no more of it is needed and there may be none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atv.records.files import read_json
from atv.records.pruning_report import REPORT, SCHEMA


def recorded_base(folder: Path) -> str | None:
    """The dense model that a folder's report names; None for no report, or one that does not say."""
    base = _recorded(folder, "base")
    model = base.get("model") if isinstance(base, dict) else None
    return model if isinstance(model, str) else None


def recorded_calibration(folder: Path) -> Mapping[str, Any]:
    """What a folder's report says of the samples that it was calibrated on; nothing for no report."""
    calibration = _recorded(folder, "calibration")
    return calibration if isinstance(calibration, dict) else {}


def _recorded(folder: Path, name: str) -> Any:
    try:
        return read_json(folder / REPORT, SCHEMA).get(name)
    except (ValueError, OSError):
        return None
