"""What one tracked run holds, and who writes it where."""

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
    """A cell of an ablation, or the ablation's summary.

    Attributes:
        id: the same for the same content of the same ablation; a finished one is not logged again.
        name: for people.
        group: the ablation's name.
        kind: W&B's job type.
        config: what was run, on what.
        curves: one row a block; its number is ``keys.BLOCK``.
        points: numbers that are drawn against ``sparsity``, which is among them.
        lines: of a summary, method -> sparsity -> average retention.
        summary: what is not drawn: retention and scores by task, counts, times.
        tables, images: by name.
        files: masks and report.
        version: of the content; one that changed is logged again, in the earlier one's place.
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
    """Writes each entry as one run below ``folder / name``, through one of Lightning's loggers, and remembers it.

    Args:
        folder: the ablation's.

    Attributes:
        name: of the option and the folder.
        package: what it needs to be installed.
    """

    name: str
    package: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self._ledger = self.folder / "logged.json"
        known = self._ledger.is_file()
        self.logged: dict[str, str] = json.loads(self._ledger.read_text()) if known else {}

    def has(self, run_id: str, version: str = "") -> bool:
        """Whether this content was logged before."""
        return self.logged.get(run_id) == version

    def log(self, entry: Entry) -> None:
        """Writes the entry, and only then notes that it is there."""
        self.write(entry)
        self.logged[entry.id] = entry.version
        write_json(self._ledger, self.logged)

    @abstractmethod
    def write(self, entry: Entry) -> None:
        """Writes a run, whole."""
