"""One run of an ablation's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atv.allocation import Allocation
from atv.api import Pathway
from atv.criteria import Criterion
from atv.patterns import Pattern
from atv.selection import TokenSelection


@dataclass(frozen=True)
class Cell:
    """A model to prune and to question.

    Attributes:
        labels: what tells the cell apart in tables; cells that differ in nothing but the seed share them.
        pathways: empty for the dense model, {"both": ...} for ordinary pruning, {"text": ..., "visual": ...} for
            decoupled pathways.
        targets, propagate, seed: as for ``atv.prune``; the seed draws the calibration samples, too.
        samples: calibration samples; None is the run's number.
        asked: False where masks and report are enough, and no question need be answered.
        measure: names a measurement that the ablation's ``measure`` makes in place of pruning and asking.
    """

    labels: Mapping[str, Any]
    pathways: Mapping[str, Pathway] = field(default_factory=dict)
    targets: tuple[str, ...] | None = None
    propagate: bool = True
    seed: int = 0
    samples: int | None = None
    asked: bool = True
    measure: str = ""

    def config(self) -> dict[str, Any]:
        """Everything that moves the cell's numbers; a rule given as an instance counts by its class and arguments."""
        return {
            "pathways": {name: {k: _plain(v) for k, v in vars(p).items()} for name, p in self.pathways.items()},
            "targets": self.targets,
            "propagate": self.propagate,
            "seed": self.seed,
        } | ({"measure": self.measure} if self.measure else {})

    @property
    def title(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.labels.items())


def _plain(value: Any) -> Any:
    if not isinstance(value, (TokenSelection, Criterion, Pattern, Allocation)):
        return value
    arguments = {name: _plain(argument) for name, argument in vars(value).items()}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **arguments}
