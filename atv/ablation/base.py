"""The base class of ablations: a question, a grid of cells, and how to show the answer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import lightning as L
import pandas as pd
from matplotlib.figure import Figure

from atv.ablation.bench import Bench
from atv.ablation.cell import Cell
from atv.ablation.findings import Finding
from atv.ablation.levels import SUITED, Levels
from atv.ablation.measuring import Measured
from atv.ablation.results import Results
from atv.ablation.tables import retention_table
from atv.bundled import BUNDLED
from atv.data.sources import load_calibration


class Ablation(ABC):
    """Base class of ablations, each in one short file of ``ablations/`` that ``atv ablate --file FILE`` runs.

    Attributes:
        name: name of the ablation's file and of its results folder.
        question: the question that the ablation answers, in one line.
        paper: the table, figure or section that it reproduces; empty for questions that the paper does not ask.
        seeds: number of seeds that a quick run uses for cells that findings rest on; all other cells get one.
        caption: what the numbers in the table are, for its heading.
        levels: the sparsities and patterns that suit the model.
        calibration_data: the data that calibrate cells which name none, for cells that mix them with other data. These
            are the model's own data until a grid admits the ablation, and then the run's.
    """

    name: str
    question: str
    paper: str = ""
    seeds: int = 1
    caption: str = (
        "Retention in % of the dense score, with 95% confidence intervals over questions (all about one picture "
        "together) and seeds (Student's t, dense and pruned on the same questions); in brackets behind it the score "
        "in %."
    )

    def __init__(self, levels: Levels = SUITED[BUNDLED]) -> None:
        self.levels = levels
        self.calibration_data = load_calibration(levels.model or BUNDLED)

    @abstractmethod
    def cells(self, seed: int) -> Sequence[Cell]:
        """Returns the grid's cells for one seed. Retention requires the dense model among them: ``Cell(labels)``."""

    def claimed(self, cell: Cell) -> bool:
        """Returns whether a finding rests on the cell."""
        return True

    def later(self, seed: int, results: Results) -> Sequence[Cell]:
        """Returns cells that depend on the numbers of others, such as a budget to be matched.

        It is called again with the numbers of these cells until it returns no new ones.
        """
        return ()

    def measure(self, cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
        """Measures a cell that names a measurement; all other cells are pruned and asked every question."""
        raise NotImplementedError(f"{type(self).__name__}.measure: a cell names {cell.measure!r}; define the method")

    def table(self, results: Results) -> pd.DataFrame:
        """Returns the numbers, one per row: by default labels, task, score, counts, retention, low, high."""
        return retention_table(results)

    @abstractmethod
    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        """Draws the table, or the results that the table was made from."""

    def findings(self, results: Results) -> Sequence[Finding]:
        """Returns the claims that the paper makes here, with what these results say about them."""
        return ()
