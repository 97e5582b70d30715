"""The lines of an ablation's summary, from cells whose scores are known."""

from types import SimpleNamespace

import pandas as pd

from atv.tracking.summary import _lines


class Known:
    """Cells by their labels, with the sparsity and the retention of each."""

    def __init__(self, *cells):
        self.cells = cells

    def methods(self):
        return [labels for labels, _, _ in self.cells]

    def _cell(self, labels):
        return next(cell for cell in self.cells if cell[0] == labels)

    def of(self, **labels):
        sparsity = self._cell(labels)[1]
        plan = {"both": {"sparsity": sparsity, "selection": {"class": "AllTokens"}}}
        report = None if sparsity is None else SimpleNamespace(plans=plan)
        return [SimpleNamespace(report=report, rows=pd.DataFrame({"credit": [1.0]}))]

    def retention(self, **labels):
        return {"average": SimpleNamespace(value=self._cell(labels)[2])}


def test_methods_at_several_sparsities_are_lines_and_patterns_are_not_mixed_with_them():
    cells = [({"method": "dense", "setting": "0%"}, None, 100.0)]
    cells += [({"method": "ATV", "setting": f"{share}%"}, share / 100, 140.0 - share) for share in (60, 50)]
    cells += [({"method": "ATV", "setting": "2:4"}, 0.5, 70.0), ({"method": "Wanda", "setting": "50%"}, 0.5, 60.0)]
    assert _lines(Known(*cells)) == {"ATV": {0.5: 90.0, 0.6: 80.0}}


def test_a_label_that_happens_to_be_the_sparsity_still_tells_cells_apart():
    cells = [({"kept": kept, "sparsity": share}, share, 100 * kept) for kept in (0.5, 0.6) for share in (0.5, 0.6)]
    assert _lines(Known(*cells)) == {"0.5": {0.5: 50.0, 0.6: 50.0}, "0.6": {0.5: 60.0, 0.6: 60.0}}
