"""What an ablation is: a question, a grid of cells, and how to show the answer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from atv.allocation import Allocation
from atv.api import Pathway
from atv.criteria import Criterion
from atv.patterns import Pattern
from atv.selection import TokenSelection


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    ``labels`` tell it apart in tables. ``pathways`` is empty for the dense model, {"both": ...} for ordinary pruning,
    {"text": ..., "visual": ...} for decoupled pathways.
    """

    labels: Mapping[str, Any]
    pathways: Mapping[str, Pathway] = field(default_factory=dict)
    targets: tuple[str, ...] | None = None
    propagate: bool = True
    seed: int = 0

    def config(self) -> dict[str, Any]:
        """Everything that moves the cell's numbers; a rule given as an instance counts by its class and arguments."""
        return {
            "pathways": {name: {k: _plain(v) for k, v in vars(p).items()} for name, p in self.pathways.items()},
            "targets": self.targets,
            "propagate": self.propagate,
            "seed": self.seed,
        }

    @property
    def title(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.labels.items())


def _plain(value: Any) -> Any:
    if not isinstance(value, (TokenSelection, Criterion, Pattern, Allocation)):
        return value
    arguments = {name: _plain(argument) for name, argument in vars(value).items()}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **arguments}


class Ablation(ABC):
    """Derive from this in one short file of ``ablations/``; ``atv ablate FILE`` runs it."""

    name: str
    question: str

    @abstractmethod
    def cells(self, seed: int) -> Sequence[Cell]:
        """The grid; the first cell is the dense model, which every retention refers to."""

    @abstractmethod
    def figure(self, table: pd.DataFrame) -> Figure:
        """A picture of the table (one row a cell and task: labels, task, retention, low, high, score, counts)."""
