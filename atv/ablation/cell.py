"""One cell of an ablation's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from atv.api import Pathway
from atv.data import CalibrationData
from atv.evaluation.question_sets import Suite
from atv.plugins import Plugin, code_identity, describe
from atv.records.cell_record import titled

Labels = dict[str, Any]
# For one of two pathways if only the other one is pruned.
DENSE_PATHWAY = Pathway("AllTokens", sparsity=0.0)


@dataclass(frozen=True)
class Cell:
    """A model to prune and to ask questions.

    Attributes:
        labels: identify the cell in tables; cells that differ only in the seed share them.
        pathways: empty for the dense model, {"both": ...} for ordinary pruning, {"text": ..., "visual": ...} for
            decoupled pathways.
        targets, propagate, seed: as for ``atv.prune``; the seed also draws the calibration samples.
        samples: number of calibration samples; None for the run's number.
        calibration: the data that the samples are drawn from; None for the run's data.
        suite: the questions to ask; None for the run's questions.
        asked: False if masks and report are enough and no question needs to be answered.
        measure: names a measurement that the ablation's ``measure`` makes instead of pruning and asking. The text is
            part of the cell's id, so it must contain every parameter of the measurement: ``f"seconds at {sparsity}"``.
    """

    labels: Mapping[str, Any]
    pathways: Mapping[str, Pathway] = field(default_factory=dict)
    targets: tuple[str, ...] | None = None
    propagate: bool = True
    seed: int = 0
    samples: int | None = None
    calibration: CalibrationData | None = None
    suite: Suite | None = None
    asked: bool = True
    measure: str = ""

    @property
    def dense(self) -> bool:
        """Whether the cell's model is the dense one, from which all others are pruned."""
        return not (self.pathways or self.measure)

    @property
    def answers(self) -> bool:
        """Whether the cell's model answers questions."""
        return self.asked and not self.measure

    def config(self) -> dict[str, Any]:
        """Returns everything that affects the cell's numbers.

        A rule given as an instance is represented by its class and arguments, and also by its code if it does not
        belong to an installed package.
        """
        return {
            "pathways": {name: _config(pathway) for name, pathway in self.pathways.items()},
            "targets": self.targets,
            "propagate": self.propagate,
            "seed": self.seed,
        } | self._own()

    def _own(self) -> dict[str, Any]:
        """Returns what most cells leave to the run; cells of earlier runs do not have it."""
        own: dict[str, Any] = {"measure": self.measure} if self.measure else {}
        if self.calibration is not None:
            own["calibration"] = self.calibration.record()
        steps = [getattr(pathway, part.name) for pathway in self.pathways.values() for part in fields(pathway)]
        return own | code_identity([*steps, self.calibration])

    @property
    def title(self) -> str:
        return titled(self.labels)


def _config(pathway: Pathway) -> dict[str, Any]:
    parts = {part.name: getattr(pathway, part.name) for part in fields(pathway)}
    # Steps that a pathway does not use are left out, so that cells from before these steps existed keep their names.
    parts = {name: part for name, part in parts.items() if part is not None or name not in ("refine", "reconstruct")}
    return {name: _described(part) for name, part in parts.items()}


def _described(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_described(step) for step in part]
    return describe(part, dotted=True) if isinstance(part, Plugin) else part
