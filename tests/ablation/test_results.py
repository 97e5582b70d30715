import io
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from atv.ablation import Cell, Finding, Measured, Results
from atv.ablation.store import CellStore
from atv.ablation.tables import ShownTable, retention_table
from atv.api import Pathway
from atv.plugins import load_file
from atv.selection import DriftTopK

GROUPS = 40


class FakeBench:
    """Stands for encoded data: a store asks for digests alone."""

    questions, prompt_sets, samples, language = (), (), 128, False

    def of(self, cell):
        return self

    def calibration_digest(self, cell):
        return f"{cell.samples or self.samples} samples of seed {cell.seed}"


def answers(credits):
    names = [f"q{index:02d}" for index in range(len(credits))]
    shared = {"task": "reading", "metric": "ExactMatch", "category": "all"}
    return pd.DataFrame({"question_id": names, "group": names, "credit": np.asarray(credits, float)}).assign(**shared)


@pytest.fixture
def store(tmp_path):
    return CellStore(tmp_path / "cells", "a model", FakeBench())


@pytest.fixture
def results(store):
    """Dense 36 of 40; A 30 and 28 right with its two seeds; B 26 and 28, mostly the same questions."""
    right = {("dense", 0): 36, ("A", 0): 30, ("A", 1): 28, ("B", 0): 26, ("B", 1): 28}
    finished = []
    for (method, seed), count in right.items():
        pathways = {} if method == "dense" else {"both": Pathway("TextOnly" if method == "A" else "AllTokens")}
        cell = Cell({"method": method}, pathways, seed=seed)
        store.save(cell, Measured(answers(np.arange(GROUPS) < count), seconds={"prune": 1.0}))
        finished.append(store.load(cell))
    return Results(finished)


def test_seeds_are_averaged_and_refer_to_the_dense_model(results):
    kept = results.retention(method="A")["average"]
    assert kept.value == pytest.approx(100 * (30 + 28) / 2 / 36)
    assert kept.low < kept.value < kept.high
    assert results.by_seed(method="A") == pytest.approx([100 * 30 / 36, 100 * 28 / 36])
    assert (
        results.count(method="A") == "40 questions, 2 seeds" and results.count(method="dense") == "40 questions, 1 seed"
    )


def test_a_difference_is_paired(results):
    """A is right wherever B is, so resampling questions can turn no draw around."""
    ours = results.difference({"method": "A"}, {"method": "B"})
    assert ours.value == pytest.approx(100 * (58 - 54) / 2 / 36)
    apart = [results.retention(method=method)["average"] for method in "AB"]
    assert ours.high - ours.low < apart[0].high - apart[0].low + apart[1].high - apart[1].low
    same = results.difference({"method": "A"}, {"method": "A"})
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_how_far_apart_two_gaps_are_is_paired_too(store):
    """Wide: 6 and 4 right of A with two seeds, 2 and 2 of B; narrow: 5 and 3 of C, 4 and 4 of D; dense 8 of 8."""
    right = {"A": (6, 4), "B": (2, 2), "C": (5, 3), "D": (4, 4)}
    pool = {"both": Pathway("TextOnly")}
    finished = [saved(store, Cell({"m": "dense"}), np.ones(8))]
    for method, counts in right.items():
        for seed, count in enumerate(counts):
            cell = Cell({"m": method}, pool | {method: Pathway("AllTokens")}, seed=seed)
            finished.append(saved(store, cell, np.arange(8) < count))
    results = Results(finished)
    (a, b, c, d) = ({"m": method} for method in right)
    ours = results.gaps_apart((a, b), (c, d))
    assert ours.value == pytest.approx(100 / 8 * np.mean([6 - 2 - (5 - 4), 4 - 2 - (3 - 4)]))
    # (A - B) - (C - D) differs with the seed by nothing: 3 and 3.
    assert ours.spread.seed_variance == pytest.approx(0) and ours.spread.seeds == 2
    assert ours.runs == ("m A", "m B", "m C", "m D")
    none = results.gaps_apart((a, b), (a, b))
    assert (none.low, none.value, none.high) == (0, 0, 0)


def test_the_part_of_the_questions_agrees_with_a_bootstrap(results):
    rng = np.random.default_rng(5)
    dense = (np.arange(GROUPS) < 36).astype(float)
    both = np.stack([(np.arange(GROUPS) < count).astype(float) for count in (30, 28)]).mean(0)
    rows = rng.integers(GROUPS, size=(4000, GROUPS))
    drawn = 100 * both[rows].mean(1) / dense[rows].mean(1)
    kept = results.retention(method="A")["average"]
    assert np.sqrt(kept.spread.question_variance) == pytest.approx(drawn.std(), rel=0.05)
    assert (kept.spread.groups, kept.spread.seeds) == (GROUPS, 2)
    assert kept.spread.seed_variance == pytest.approx(np.var([100 * 30 / 36, 100 * 28 / 36], ddof=1) / 2)


def saved(store, cell, credits):
    store.save(cell, Measured(answers(credits)))
    return store.load(cell)


def test_only_shared_questions_and_seeds_are_compared(store):
    """A was asked three questions with seeds 0 and 1, B the first two with seeds 1 and 2."""
    pools = {"A": {"both": Pathway("TextOnly")}, "B": {"both": Pathway("AllTokens")}}
    given = {("A", 0): [1, 1, 1], ("A", 1): [0, 1, 0], ("B", 1): [1, 1], ("B", 2): [0, 0]}
    finished = [saved(store, Cell({"m": "dense"}), [1, 1, 1])]
    finished += [saved(store, Cell({"m": m}, pools[m], seed=seed), right) for (m, seed), right in given.items()]
    results = Results(finished)
    ours = results.difference({"m": "A"}, {"m": "B"})
    assert ours.value == pytest.approx(-50) and ours.runs == ("m A", "m B")
    assert (ours.spread.groups, ours.spread.seeds) == (2, 1)
    assert results.difference({"m": "A"}, {"m": "dense"}).value == pytest.approx(-100 / 3)
    assert results.count(m="B") == "2 questions, 2 seeds"
    with pytest.raises(ValueError, match="no seed in common"):
        Results([*finished[:2], finished[-1]]).difference({"m": "A"}, {"m": "B"})
    with pytest.raises(ValueError, match="expected one method, got m dense; m A"):
        results.retention()


def test_labels_of_several_methods_are_refused_and_not_one_of_them_compared(store):
    cells = [Cell({"m": "A", "at": at}, {"both": Pathway("TextOnly", at)}) for at in (0.5, 0.6)]
    cells += [Cell({"m": "dense"}), Cell({"m": "B"}, {"both": Pathway("AllTokens")})]
    results = Results([saved(store, cell, [1, 1, 0]) for cell in cells])
    a, b, message = {"m": "A"}, {"m": "B"}, re.escape("expected one method, got m A, at 0.5; m A, at 0.6")
    for compare in (results.difference, results.english, partial(results.keeps_more, "A keeps more.")):
        with pytest.raises(ValueError, match=message):
            compare(a, b)
    with pytest.raises(ValueError, match=message):
        results.gaps_apart((b, b), (b, a))


def test_cells_of_a_suite_refer_to_the_dense_model_asked_the_same(store):
    suite = SimpleNamespace(evaluation="own", split="dev", groups=3, source={"evaluation": "own", "split": "dev"})
    asked = [Cell({"m": "dense", "on": on}, suite=own) for on, own in (("run", None), ("own", suite))]
    asked += [Cell({"m": m, "on": "own"}, {"both": Pathway(m)}, suite=suite) for m in ("TextOnly", "AllTokens")]
    right = [1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]
    cells = [replace(saved(store, cell, given), cell=cell) for cell, given in zip(asked, right, strict=True)]
    results, text, every = Results(cells), {"m": "TextOnly"}, {"m": "AllTokens"}
    assert results.by_seed(**text) == [50.0] and results.retention(**text)["average"].value == 50
    assert results.difference(every, text).value == 50 and results.gaps_apart((every, text), (text, text)).value == 50
    with pytest.raises(ValueError, match="asked the same questions, got cells of several suites"):
        results.difference(every, {"m": "dense", "on": "run"})


def test_what_stands_behind_one_task_is_counted_alone(store):
    rows = [answers([1, 1, 0]), answers([1, 0]).assign(task="counting")]
    cell = Cell({"m": "dense"})
    store.save(cell, Measured(pd.concat(rows, ignore_index=True)))
    results = Results([store.load(cell)])
    assert results.count(m="dense") == "5 questions, 1 seed"
    assert results.count("counting", m="dense") == "2 questions, 1 seed"


def test_a_dense_model_that_is_always_wrong_leaves_nothing_to_keep_and_tables_are_written_all_the_same(store):
    finished = []
    for cell in (Cell({"m": "dense"}), Cell({"m": "A"}, {"both": Pathway("TextOnly")})):
        store.save(cell, Measured(answers([0, 0, 0])))
        finished.append(store.load(cell))
    results = Results(finished)
    with pytest.warns(UserWarning, match="the dense model scores 0 on every task, so there is nothing to keep"):
        table = retention_table(results)
        ours = results.difference({"m": "A"}, {"m": "dense"})
    assert table["task"].tolist() == ["average", "average"] and table["retention"].isna().all()
    assert np.isnan(ours.value) and Finding("A beats B", "", ours, "points").verdict == "undecided"
    text = pd.read_csv(io.StringIO(table.to_csv(index=False)), dtype=str, keep_default_na=False)
    assert [[cell.plain for cell in row] for row in ShownTable.of(text).rows] == [
        ["dense", "1", "none"],
        ["A", "1", "none"],
    ]


def test_a_task_that_the_dense_model_had_no_credit_for_where_a_cell_was_asked_less_leaves_its_place_empty(store):
    """Of counting a cell that was settled early was asked the first two questions alone, where dense had none right."""
    finished = []
    for cell, counting in (
        (Cell({"m": "dense"}), [0, 0, 1]),
        (Cell({"m": "A"}, {"both": Pathway("TextOnly")}), [1, 0]),
    ):
        rows = [answers([1, 1, 0]), answers(counting).assign(task="counting")]
        store.save(cell, Measured(pd.concat(rows, ignore_index=True)))
        finished.append(store.load(cell))
    text = pd.read_csv(
        io.StringIO(retention_table(Results(finished)).to_csv(index=False)), dtype=str, keep_default_na=False
    )
    shown = ShownTable.of(text)
    place = [head.text for head in shown.heads].index("counting")
    assert [row[place].plain for row in shown.rows][1] == "none"


def test_unknown_labels_name_the_choices(results):
    with pytest.raises(ValueError, match=r"no finished cell has \{'method': 'C'\}; there are: method dense; method A"):
        results.retention(method="C")


def test_a_cell_is_named_by_what_moves_its_numbers(store):
    pool = {"both": Pathway("DriftTopK")}
    cells = [
        Cell({}, pool),
        Cell({}, pool, seed=1),
        Cell({}, pool, samples=4),
        Cell({}, pool, propagate=False),
        Cell({}, pool, targets=("q_proj",)),
        Cell({}, {"both": Pathway(DriftTopK(alpha=2.0))}),
        Cell({}, {"both": Pathway("DriftTopK", 0.6)}),
        Cell({}, measure="seconds"),
        Cell({}),
    ]
    ids = [store.id_of(cell) for cell in cells]
    assert len(set(ids)) == len(ids)
    assert store.id_of(Cell({"named": "otherwise"}, pool, asked=False)) == ids[0]
    assert CellStore(store.folder, "another model", FakeBench()).id_of(cells[0]) != ids[0]


METRIC = """
from atv.evaluation.metrics import GroupedScore

RIGHT = {right}


class InPart(GroupedScore):
    def read(self, prediction, question):
        return prediction

    def credit(self, prediction, question):
        return RIGHT
"""


def test_a_cell_follows_the_code_of_a_metric_of_a_file(tmp_path):
    def questions(metric, right=1.0):
        (tmp_path / "in_part.py").write_text(METRIC.format(right=right))
        load_file(tmp_path / "in_part.py")
        bench = FakeBench()
        bench.questions = ({"question_id": "a", "metric": metric, "answer": "red"},)
        store = CellStore(tmp_path / "cells", "a model", bench)
        return store.inputs(Cell({}))["questions"]

    assert questions("ExactMatch") == questions("ExactMatch", 0.5) == "027fcac09e922301"
    assert questions("InPart") == questions("InPart") != questions("InPart", 0.5)


def test_a_cell_left_unasked_does_not_serve_one_that_is_asked(store):
    cell, unasked = (Cell({}, {"both": Pathway("TextOnly")}, asked=asked) for asked in (True, False))
    store.save(unasked, Measured(seconds={"prune": 1.0}))
    assert store.load(unasked) and store.load(cell) is None
    store.save(cell, Measured(answers([1, 0])))
    assert store.load(cell) and store.load(unasked)


def test_what_another_ablation_or_label_measured_does_not_serve(store):
    cell, other = (Cell({"width": width}, measure="count") for width in (1, 2))
    store.save(cell, Measured(pd.DataFrame({"value": [10]})), "one")
    assert store.load(cell, "one") and store.load(cell, "two") is None and store.load(other, "one") is None
    store.save(cell, Measured(pd.DataFrame({"value": [10]})))  # as earlier versions did
    assert store.load(cell, "one") and store.load(cell, "two") and store.load(other, "one") is None
