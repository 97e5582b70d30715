"""The search among recipes: all methods tuned alike on dev, the best told once on test."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from atv.ablation.levels import Levels
from atv.ablation.results import Results
from atv.ablation.store import FinishedCell
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.model.lvlm import LVLM
from atv.records.cell_record import CellRecord

GROUPS = 100
# Variants of each method by how much they keep on dev; all others keep 50.
GOOD = {"ADMM, own + facts": 90, "SparseGPT, own": 80, "alpha 4, own": 70, "alpha 0.5, own": 60, "by layer, own": 55}


@pytest.fixture(scope="module")
def recipes(kinds):
    ablation = kinds["recipes"]()
    # Parts of dev, which nothing is asked here.
    ablation.__dict__["_rungs"] = ["first", "second"]
    return ablation


def finished(cell, folder):
    """Answers of a cell: what its variant keeps of the dense model's 100 right ones; on test always 40."""
    right = 100 if not cell.pathways else GOOD.get(cell.labels["variant"], 50) if cell.suite else 40
    shared = {"task": "reading", "metric": "ExactMatch", "category": "all"}
    names = [f"{cell.suite} {number}" for number in range(GROUPS)]
    credit = [float(number < right) for number in range(GROUPS)]
    home = folder / f"{cell.title}, {cell.seed}".replace("/", "-")
    home.mkdir()
    rows = pd.DataFrame({"question_id": names, "group": names, "credit": credit, "prediction": "a", "ended": True})
    rows.assign(**shared).to_parquet(home / "rows.parquet")
    CellRecord(home.name, seconds={"prune": 4.0 if cell.labels["method"] == "update" else 3.0}).write(home)
    return FinishedCell(cell, home)


@pytest.fixture(scope="module")
def stages(recipes, tmp_path_factory):
    """All cells as the runner asks for them, stage by stage, with two seeds on test."""
    done, found, folder = [], [recipes.cells(0)], tmp_path_factory.mktemp("cells")
    while found[-1]:
        done += [finished(cell, folder) for cell in found[-1]]
        results = Results(done)
        wanted = {(cell.title, cell.seed): cell for seed in (0, 1) for cell in recipes.later(seed, results)}
        known = {(own.cell.title, own.cell.seed) for own in done}
        found.append([cell for key, cell in wanted.items() if key not in known])
    return found[:-1], Results(done)


def test_every_method_gets_as_many_cells_of_the_search_and_a_quarter_goes_on(stages):
    (dense, *rungs, _), _ = stages
    assert [cell.labels["method"] for cell in dense] == ["dense"] and len(rungs) == 2
    for rung, count, suite in zip(rungs, (8, 2), ("first", "second"), strict=True):
        by_method = Counter(cell.labels["method"] for cell in rung)
        assert by_method.pop("dense") == 1 and set(by_method.values()) == {count} and len(by_method) == 10
        assert {cell.suite for cell in rung} == {suite}
        assert {cell.seed for cell in rung if cell.pathways}.isdisjoint(range(10))
        # Each method sees both kinds of data.
        assert count < 8 or {cell.labels["variant"].rsplit(", ")[-1] for cell in rung[1:]} == {"own", "own + facts"}


def test_the_everyday_model_calibrates_on_prose_besides(kinds):
    ablation = kinds["recipes"](Levels.suited(EVERYDAY))
    assert {variant.rsplit(", ")[-1] for variant in ablation.standing("ATV", 0, None)} == {"own", "own + prose"}
    cell = ablation._cell("ATV", "alpha 1, own + prose", "40%", "test", 0)
    assert [type(source).__name__ for source in cell.calibration.sources] == ["Everyday", "EverydayProse"]


def test_the_best_on_dev_is_told_on_test_with_every_seed(stages):
    (*_, told), results = stages
    chosen = {cell.labels["method"]: cell.labels["variant"] for cell in told}
    assert chosen["update"] == "ADMM, own + facts" and chosen["ATV"] == "alpha 4, own"
    assert chosen["Wanda"] == "by layer, own"
    # Of equals the first, which is the method as published.
    assert (chosen["SparseGPT"], chosen["RIA"]) == ("damping 0.01, own", "power 0.5, own")
    assert all(cell.suite is None for cell in told) and {cell.seed for cell in told} == {0, 1}
    settings = {cell.labels["setting"] for cell in told}
    assert settings == {"50%", "60%", "70%", "4:8"}
    at_n_m = {cell.labels["method"] for cell in told if cell.labels["setting"] == "4:8"}
    assert set(chosen) - at_n_m == {"TAMP", "PerBlock"}
    assert results.retention(method="ATV", setting="50%", asked="test")["average"].value == 40


def test_tables_and_findings_are_of_test_alone(recipes, stages):
    _, results = stages
    table = recipes.table(results)
    atv = table[(table["method"] == "ATV") & (table["task"] == "average")]
    assert set(atv["kept on dev"]) == {70.0} and set(atv["retention"]) == {40.0} and set(atv["pruned in s"]) == {3.0}
    findings = recipes.findings(results)
    assert len({each.claim for each in findings}) == len(findings) == 3 * 7 + 5 + 4 * 2 + 4 * 3 + 3
    tasks, costs = findings[:-3], findings[-3:]
    assert {each.verdict for each in tasks} == {"practically equal"}
    assert [(each.bound, each.ours.value) for each in costs] == [(0.5, 0.75), (pytest.approx(1 / 1.1), 1.0), (0.5, 1.0)]
    assert recipes.figure(table, results)


def test_plain_english_counts_where_it_is_read(recipes, stages):
    _, results = stages
    read = {"dense": 20.0, "update": 25.0, "ATV": 40.0}
    again = Results([replace(done) for done in results.finished])
    for done in again.finished:
        done.record.perplexity["all"] = read.get(done.cell.labels["method"], 50.0) + done.cell.seed % 2
    # 20 / 25 and 20 / 26 of a token's probability, against 20 / 40 and 20 / 41.
    gap = again.english({"method": "update", "setting": "50%", "asked": "test"}, {"method": "ATV", "setting": "50%"})
    assert gap.value == pytest.approx(((80 - 50) + (100 * 20 / 26 - 100 * 20 / 41)) / 2)
    claims = [each.claim for each in recipes.findings(again)]
    assert "At 50%, the recipe 'update' keeps more of plain English than ATV." in claims and len(claims) == 95


@pytest.mark.parametrize("setting", ["50%", "4:8"])
def test_every_variant_can_be_pruned_by(recipes, llava, setting):
    lvlm = LVLM.of(llava)
    for method in ("update", "masks", "measured", "ATV", "Wanda", "SparseGPT", "AMIA", "RIA", "TAMP", "PerBlock"):
        if setting == "4:8" and method in ("TAMP", "PerBlock"):
            continue
        for variant in recipes.standing(method, 0, None):
            cell = recipes._cell(method, variant, setting, "test", 0)
            cell.pathways["both"].plan(lvlm, lvlm.targets(None))
            (cell.calibration or recipes._data["own + facts"]).check()
