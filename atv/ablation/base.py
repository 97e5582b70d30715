"""What an ablation is: a question, a grid of cells, and how to show the answer."""

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
    """Derive from this in one short file of ``ablations/``; ``atv ablate --file FILE`` runs it.

    Attributes:
        name: the file's, and of the folder of results.
        question: what the ablation answers, one line.
        paper: which table, figure or section it repeats; empty for questions that the paper does not ask.
        seeds: how many seeds a quick run takes of the cells that something is claimed of; of others it takes one.
        caption: what the numbers of the table are, for its heading.
        levels: the sparsities and patterns that suit the model.
        calibration_data: what calibrates cells that name nothing else, for cells that mix it with other data: the
            run's, once a grid has taken the ablation; before that the model's own.
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
        """The grid for one seed. Retention needs the dense model among the cells: ``Cell(labels)``."""

    def claimed(self, cell: Cell) -> bool:
        """Whether a finding rests on the cell."""
        return True

    def later(self, seed: int, results: Results) -> Sequence[Cell]:
        """Cells that need numbers of others first, such as a budget to be matched; asked for again with their numbers
        until there are no new ones."""
        return ()

    def measure(self, cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
        """What a cell that names a measurement is run for; all others are pruned and asked every question."""
        raise NotImplementedError(f"{type(self).__name__}.measure: a cell asks for {cell.measure!r}")

    def table(self, results: Results) -> pd.DataFrame:
        """The numbers, one a row: by default labels, task, score, counts, retention, low, high."""
        return retention_table(results)

    @abstractmethod
    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        """A picture of the table, or of what the table was made of."""

    def findings(self, results: Results) -> Sequence[Finding]:
        """What the paper claims here, and what these results say to it."""
        return ()
