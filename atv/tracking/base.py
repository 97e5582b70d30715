"""The content of one tracked run, and the base class of the trackers that write it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from atv.records.files import write_json


@dataclass(frozen=True)
class Entry:
    """A run to be logged: a cell of an ablation, or the ablation's summary.

    Attributes:
        id: identifier of the run, the same for the same content of the same ablation; a finished run is not logged
            again.
        name: readable name.
        group: the ablation's name.
        kind: W&B's job type.
        config: settings and inputs of the run.
        curves: one row per block; ``keys.BLOCK`` is the block's number.
        points: numbers that are plotted against ``sparsity``, which is one of them.
        lines: average retention by method and sparsity; only for a summary.
        summary: numbers that are not plotted: retention and scores by task, counts, times.
        tables, images: by name.
        files: masks and report.
        version: version of the content; if it has changed, the run is logged again and replaces the earlier one.
    """

    id: str
    name: str
    group: str
    kind: Literal["cell", "summary"]
    config: dict[str, Any]
    curves: Sequence[dict[str, float]] = ()
    points: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[float, float]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)
    files: Sequence[Path] = ()
    version: str = ""


class Tracker(ABC):
    """Writes each entry as one run below ``folder / name`` with one of Lightning's loggers, and keeps track of it.

    Args:
        folder: the ablation's folder.

    Attributes:
        name: value of the option, and name of the folder.
        package: the package that must be installed.
    """

    name: str
    package: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self._ledger = self.folder / "logged.json"
        has_ledger = self._ledger.is_file()
        self.logged: dict[str, str] = json.loads(self._ledger.read_text()) if has_ledger else {}

    def has(self, run_id: str, version: str = "") -> bool:
        """Returns whether a run was logged before with this version of its content."""
        return self.logged.get(run_id) == version

    def log(self, entry: Entry) -> None:
        """Writes the entry, then records that it was logged."""
        self.write(entry)
        self.logged[entry.id] = entry.version
        write_json(self._ledger, self.logged)

    @abstractmethod
    def write(self, entry: Entry) -> None:
        """Writes an entry as a complete run."""
