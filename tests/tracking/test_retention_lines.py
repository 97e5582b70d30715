"""Retention against sparsity, one line a method, from cells of many labels."""

from types import SimpleNamespace

import pytest

from atv.ablation import Cell
from atv.tracking.summary import _lines


@pytest.fixture
def known():
    """Makes results of cells given as labels, sparsity (None is dense) and retention (None is not asked)."""

    def made(*cells):
        def finished(sparsity, kept):
            plan = {"both": {"sparsity": sparsity, "selection": {"class": "AllTokens"}}}
            report = None if sparsity is None else SimpleNamespace(plans=plan)
            cell = Cell({}, {} if sparsity is None else plan)
            return SimpleNamespace(report=report, was_asked=kept is not None, cell=cell)

        by_labels = {tuple(labels.items()): (finished(*numbers), numbers[1]) for labels, *numbers in cells}
        return SimpleNamespace(
            has_dense=any(done.cell.dense and done.was_asked for done, _ in by_labels.values()),
            methods=lambda: map(dict, by_labels),
            of=lambda **labels: [by_labels[tuple(labels.items())][0]],
            retention=lambda **labels: {"average": SimpleNamespace(value=by_labels[tuple(labels.items())][1])},
        )

    return made


DENSE = ({"method": "dense", "setting": "0%"}, None, 100.0)


def test_methods_at_several_sparsities_are_lines_and_patterns_are_not_mixed_with_them(known):
    cells = [({"method": "ATV", "setting": f"{share}%"}, share / 100, 140.0 - share) for share in (60, 50)]
    cells += [({"method": "ATV", "setting": "2:4"}, 0.5, 70.0), ({"method": "Wanda", "setting": "50%"}, 0.5, 60.0)]
    assert _lines(known(DENSE, *cells)) == {"ATV": {0.5: 90.0, 0.6: 80.0}}


def test_a_label_that_happens_to_be_the_sparsity_still_tells_cells_apart(known):
    cells = [({"kept": kept, "sparsity": share}, share, 100 * kept) for kept in (0.5, 0.6) for share in (0.5, 0.6)]
    assert _lines(known(DENSE, *cells)) == {"0.5": {0.5: 50.0, 0.6: 50.0}, "0.6": {0.5: 60.0, 0.6: 60.0}}


def test_cells_that_were_asked_nothing_and_grids_without_the_dense_model_draw_none(known):
    unasked = [({"method": "ATV", "sparsity": share}, share, None) for share in (0.5, 0.6)]
    asked = [({"method": "ATV", "sparsity": share}, share, 90.0) for share in (0.5, 0.6)]
    assert _lines(known(DENSE, *unasked)) == {} == _lines(known(*asked))
