"""Who writes entries where."""

import json
from abc import ABC, abstractmethod
from pathlib import Path

from atv.records.files import write_json
from atv.tracking.entry import Entry


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
