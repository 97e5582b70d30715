"""One cell of an ablation's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from atv.api import Pathway
from atv.data import CalibrationData
from atv.evaluation.question_sets import Suite
from atv.plugins import Plugin, code_identity, describe
from atv.records.cell_record import cell_title

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
            "pathways": {name: _pathway_config(pathway) for name, pathway in self.pathways.items()},
            "targets": self.targets,
            "propagate": self.propagate,
            "seed": self.seed,
        } | self._optional_config()

    def _optional_config(self) -> dict[str, Any]:
        """Returns what only some cells set: a measurement, their own data, code of rules that are not installed.

        What is not set is left out, so that cells of earlier runs keep their ids.
        """
        optional: dict[str, Any] = {"measure": self.measure} if self.measure else {}
        if self.calibration is not None:
            optional["calibration"] = self.calibration.record()
        options = [getattr(pathway, option.name) for pathway in self.pathways.values() for option in fields(pathway)]
        return optional | code_identity([*options, self.calibration])

    @property
    def title(self) -> str:
        return cell_title(self.labels)


def _pathway_config(pathway: Pathway) -> dict[str, Any]:
    options = {option.name: getattr(pathway, option.name) for option in fields(pathway)}
    # Steps that a pathway does not use are left out, so that cells from before these steps existed keep their names.
    options = {
        name: option for name, option in options.items() if option is not None or name not in ("refine", "reconstruct")
    }
    return {name: _described(option) for name, option in options.items()}


def _described(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    return describe(value, dotted=True) if isinstance(value, Plugin) else value
