"""What is refused of a grid before any of its cells is run."""

import pytest
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell
from atv.ablation.checking import require_fit, require_told_apart
from atv.ablation.runner import run_ablation
from atv.api import Pathway
from atv.runtime.trainer import quiet_trainer
from atv.selection import TextOnly

HALF, MOST = ({"both": Pathway("DriftTopK", sparsity=sparsity)} for sparsity in (0.5, 0.8))


class Dull(TextOnly):
    """Lets no token calibrate that its author would expect."""

    def select(self, tokens):
        return [0]


class Given(Ablation):
    """Of the cells that it is made with."""

    name = question = "given"

    def __init__(self, *cells):
        super().__init__()
        self.grid = cells

    def cells(self, seed):
        return [Cell({"m": "dense"}), *self.grid]

    def figure(self, table, results):
        return Figure()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [Cell({"m": "x"}, HALF), Cell({"m": "x"}, MOST)],
            r"cells: two are called 'm x' with seed 0, but differ in pathways.both.sparsity: 0.5 and 0.8",
        ),
        ([Cell({"m": "x"}, HALF), Cell({"m": "x"}, HALF, samples=4)], "but differ in samples: None and 4"),
        (
            [Cell({"width": width}, measure="count") for width in (1, 2)],
            r"cells: 'width 1' and 'width 2' are the same measurement, 'count'",
        ),
        ([Cell({"m": float})], r"labels: expected text or a number for 'm', got <class 'float'>"),
        (
            [Cell({"m": "x"}, {"text": HALF["both"]})],
            "pathways: 'm x': expected none, both, or text and",
        ),
        ([Cell({"m": "x"}, {"txt": HALF["both"]})], "or text and visual, got txt"),
        ([Cell({"m": "x"}, HALF["both"])], r"or text and visual, got Pathway\(selection='DriftTopK'"),
    ],
)
def test_cells_that_cannot_be_told_apart_or_kept_are_refused_by_name(cells, message):
    with pytest.raises(ValueError, match=message):
        run_ablation(Given(*cells), None, [0], 1, quiet_trainer(enable_progress_bar=False))


def test_cells_that_share_all_or_differ_by_more_than_labels_are_none_of_these():
    dense, one, two = Cell({"m": "dense"}), Cell({"m": "x"}, HALF, seed=1), Cell({"m": "x"}, HALF, seed=2)
    counted = [Cell({"width": width}, samples=width, measure="count") for width in (1, 2)]
    require_told_apart([dense, dense, one, two, Cell({"m": "y"}, HALF, seed=1), *counted, *counted])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"selection": "DriftTopk"}, "file: 'm last' cannot be pruned: selection: unknown TokenSelection 'DriftTopk'"),
        ({"selection": "DriftTopK", "pattern": "2:4", "sparsity": 0.8}, "sparsity: 0.8 contradicts the pattern '2:4'"),
        ({"selection": 3}, "selection: expected a TokenSelection, a class name or a dotted path, got 3"),
        ({"selection": Dull()}, "selection: Dull.select returned a list"),
    ],
)
def test_rules_of_every_cell_are_looked_up_before_the_first_is_run(rules, message, llava):
    ablation = Given(Cell({"m": "first"}, HALF), Cell({"m": "last"}, {"both": Pathway(**rules)}))
    with pytest.raises(ValueError, match=message):
        require_fit(ablation, ablation.cells(0), llava)
