import io

import numpy as np
import pandas as pd
import pytest

from atv.ablation.cell import Cell
from atv.ablation.findings import Finding
from atv.ablation.measuring import Measured
from atv.ablation.results import Results
from atv.ablation.shown_table import ShownTable
from atv.ablation.store import CellStore, FinishedCell
from atv.ablation.tables import retention_table
from atv.api import Pathway
from atv.evaluation.scores import Estimate
from atv.records.cell_record import CellRecord
from atv.selection import DriftTopK

GROUPS = 40


class FakeBench:
    """Stands for encoded data: a store asks for digests alone."""

    questions, rounds, samples, language = (), (), 128, False

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


def test_bootstrap_agrees_with_an_independent_one(results):
    rng = np.random.default_rng(5)
    dense = (np.arange(GROUPS) < 36).astype(float)
    seeds = np.stack([(np.arange(GROUPS) < count).astype(float) for count in (30, 28)])
    drawn = []
    for _ in range(4000):
        rows, which = rng.integers(GROUPS, size=GROUPS), rng.integers(2, size=2)
        drawn.append(100 * seeds[which][:, rows].mean() / dense[rows].mean())
    kept = results.retention(method="A")["average"]
    assert (kept.low, kept.high) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))), abs=1.5)


def test_draws_without_a_dense_score_are_left_out(store):
    """Of three questions the dense model answers one: a third of all draws have nothing to keep."""
    finished = []
    for cell, credits in (
        (Cell({"m": "dense"}), [1, 0, 0]),
        (Cell({"m": "A"}, {"both": Pathway("TextOnly")}), [1, 1, 0]),
    ):
        store.save(cell, Measured(answers(credits)))
        finished.append(store.load(cell))
    kept = Results(finished).retention(m="A")["average"]
    assert kept.value == pytest.approx(200) and kept.high <= 300


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


def test_unknown_labels_name_the_choices(results):
    with pytest.raises(ValueError, match=r"no finished cell has \{'method': 'C'\}; there are: method dense; method A"):
        results.retention(method="C")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 2, "reproduced"), (-1, 2, "undecided"), (-2, 0, "not reproduced"), (-2, -1, "not reproduced")],
)
def test_the_interval_gives_the_verdict(low, high, verdict):
    finding = Finding("A beats B", "1 point", Estimate((low + high) / 2, low, high), "points", bound=0.0)
    assert finding.verdict == verdict


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


def test_a_cell_left_unasked_does_not_serve_one_that_is_asked(store):
    cell, unasked = (Cell({}, {"both": Pathway("TextOnly")}, asked=asked) for asked in (True, False))
    store.save(unasked, Measured(seconds={"prune": 1.0}))
    assert store.load(unasked) and store.load(cell) is None
    store.save(cell, Measured(answers([1, 0])))
    assert store.load(cell) and store.load(unasked)


def test_language_is_told_where_every_asked_cell_read(tmp_path):
    given = pd.DataFrame({"prediction": ["a cat", "no no no", "in in in"], "ended": [True, False, True]})
    read = {"one": 10.0, "all": 20.0}
    cells = [Cell({"method": name}) for name in ("dense", "other")]

    def finished(cell, perplexity):
        folder = tmp_path / cell.labels["method"]
        folder.mkdir(exist_ok=True)
        given.to_parquet(folder / "rows.parquet")
        CellRecord(folder.name, perplexity=perplexity).write(folder)
        return FinishedCell(cell, folder)

    both = Results([finished(cell, read) for cell in cells])
    assert both.language(method="dense") == {"perplexity": 20.0, "unended %": 33.3, "repeating %": 66.7}
    half = Results([finished(cell, perplexity) for cell, perplexity in zip(cells, (read, {}), strict=True)])
    assert half.language(method="dense") == {}
