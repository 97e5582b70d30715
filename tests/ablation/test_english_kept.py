"""What cells tell of plain English: perplexity, answers that do not end, and how much is kept."""

import numpy as np
import pandas as pd
import pytest

from atv.ablation import Cell, Results
from atv.ablation.store import FinishedCell
from atv.api import Pathway
from atv.records.cell_record import CellRecord


def test_language_is_told_where_every_asked_cell_read(tmp_path):
    said = {"prediction": ["a cat", "no no no", "in in in", ""], "ended": [True, False, True, None]}
    asked = {"task": "reading", "metric": "ExactMatch", "category": "all", "credit": [1.0, 0, 0, 0]}
    given = pd.DataFrame({"question_id": list("abcd"), "group": list("abcd")}).assign(**asked, **said)
    read = {"one": 10.0, "all": 20.0}
    cells = [Cell({"method": name}) for name in ("dense", "other")]

    def finished(cell, perplexity):
        folder = tmp_path / cell.labels["method"]
        folder.mkdir(exist_ok=True)
        given.to_parquet(folder / "rows.parquet")
        CellRecord(folder.name, perplexity=perplexity).write(folder)
        return FinishedCell(cell, folder)

    both = Results([finished(cell, read) for cell in cells])
    assert both.language(method="dense") == {"perplexity": 20.0, "unended %": 33.3, "repeating %": 50.0}
    measured = Cell({"method": "measured"}, measure="measured")
    beside = Results([*both.finished, finished(measured, {})])
    assert beside.language(method="dense") and beside.language(method="measured") == {}
    half = Results([finished(cell, perplexity) for cell, perplexity in zip(cells, (read, {}), strict=True)])
    assert half.language(method="dense") == {}


def test_what_is_kept_of_english_has_an_interval_of_one_seed(tmp_path):
    def finished(method, losses, texts=("one", "one", "two", "two")):
        cell = Cell({"method": method}, {} if method == "dense" else {"both": Pathway("TextOnly")})
        (tmp_path / method).mkdir(exist_ok=True)
        windows = [(text, loss, 10) for text, loss in zip(texts, losses, strict=True)]
        CellRecord(method, perplexity={"all": 1.0}, windows=windows).write(tmp_path / method)
        return FinishedCell(cell, tmp_path / method)

    dense, good = finished("dense", [30.0, 31.0, 40.0, 42.0]), finished("good", [31.0, 33.0, 41.0, 42.0])
    results = Results([dense, good, finished("bad", [35.0, 38.0, 44.0, 45.0])])
    gap = results.english({"method": "good"}, {"method": "bad"})
    assert gap.value == pytest.approx(100 * (np.exp(-4 / 40) - np.exp(-19 / 40)))
    assert 0 < gap.low < gap.value < gap.high < 100
    other = Results([dense, good, finished("bad", [35.0, 38.0, 44.0, 45.0], texts=("one", "two", "two", "two"))])
    with pytest.raises(ValueError, match="plain English: cells read different texts than the dense model"):
        other.english({"method": "good"}, {"method": "bad"})


def test_cells_without_windows_of_english_have_an_interval_over_seeds_alone(tmp_path):
    cells = []
    for name, read in {"dense": 20.0, "good": 25.0, "bad": 40.0}.items():
        (tmp_path / name).mkdir()
        CellRecord(name, perplexity={"all": read}).write(tmp_path / name)
        pathways = {} if name == "dense" else {"both": Pathway("TextOnly")}
        cells.append(FinishedCell(Cell({"method": name}, pathways), tmp_path / name))
    gap = Results(cells).english({"method": "good"}, {"method": "bad"})
    assert (gap.value, gap.low, gap.high) == (pytest.approx(30), -np.inf, np.inf)
