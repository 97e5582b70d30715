import json
import shutil

import pandas as pd
import pytest
from helpers.answered import cell_folder, mostly, suite, suite_folder

from atv.ablation.record import AblationRecord
from atv.bundled import BUNDLED_MODEL
from atv.bundled.data import evaluation_set


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place, questions = tmp_path_factory.mktemp("answers"), suite(1)
    questions.save_to_disk(place / "questions")
    for name, wrong in (("dense", ()), ("one", (1, 2)), ("two", (1,))):
        suite_folder(place / name, mostly(*wrong), questions, place / "questions")
    return place


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def test_models_are_told_beside_the_first(atv_command, folders):
    out = atv_command.done("compare", folders / "dense", folders / "one", folders / "two")
    line = next(line for line in out.splitlines() if str(folders / "one") in line)
    assert line.split()[-2:] == ["2/0", "84.6"] and line.split()[2].startswith("\N{MINUS SIGN}")
    assert any(line.split() == [str(folders / "one"), "0.0", "15.4"] for line in out.splitlines())
    assert "recorded" not in out and not (folders / "comparison.html").exists()


def test_tables_fit_a_terminal(atv_command, folders, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = atv_command("compare", folders / "dense", folders / "one")
    assert code == 0 and "…" not in out and "unanswerable" in out, err
    assert all(len(line) <= 80 for line in out.splitlines())


def test_seeds_stand_with_commas_between_them(atv_command, tmp_path):
    questions = suite(1)
    cells = [
        cell_folder(tmp_path / f"{method}{seed}", mostly(*range(wrong)), questions, {"method": method}, seed)
        for method, seed, wrong in (("A", 0, 1), ("A", 1, 3), ("B", 0, 0))
    ]
    out = atv_command.done("compare", cells[2], f"{cells[0]},{cells[1]}")
    line = next(line for line in out.splitlines() if "method A" in line)
    assert line.split()[-2] == "2/0"


def test_an_ablations_results_are_compared_by_their_names(atv_command, tmp_path):
    questions, cells = suite(1), []
    for method, seed, wrong in (("dense", 0, 0), ("A, twice", 0, 1), ("A, twice", 1, 3), ("B", 0, 2)):
        labels = {"method": method, "sparsity": 0.5}
        cell_folder(tmp_path / "cells" / f"{len(cells)}", mostly(*range(wrong)), questions, labels, seed)
        cells.append({"id": f"{len(cells)}", "labels": labels, "seed": seed, "seconds": 1.0})
    described = dict.fromkeys(("name", "question", "paper", "about", "caption", "file", "git", "hardware"), "x")
    run = described | {"seeds": [0, 1], "versions": {}, "cells": cells}
    AblationRecord(run, [], pd.DataFrame({"x": [1]})).write(tmp_path / "some")
    out = atv_command.done("compare", tmp_path / "some")
    seen = {line.split(", sparsity")[0].strip() for line in out.splitlines() if ", sparsity 0.5" in line}
    assert seen == {"method dense", "method A, twice", "method B"}
    first, other = (tmp_path / "some" / f"method {name}, sparsity 0.5" for name in ("dense", "A, twice"))
    code, out, err = atv_command("compare", first, other)
    assert code == 0 and "method B" not in out, err
    line = next(line for line in out.splitlines() if "method A, twice" in line)
    assert line.split()[-2] == "2/0"  # one and three, the mean of both seeds
    code, _, err = atv_command("compare", first, tmp_path / "some" / "method C")
    assert code == 2 and "has no 'method C'. Choices: method dense, sparsity 0.5; method A, twice" in err


def test_pages_and_numbers_are_written(atv_command, folders, tmp_path):
    out = atv_command.done("compare", folders / "dense", folders / "one", "--output", tmp_path, "--flips", 1)
    assert f"flipped answers are in {tmp_path / 'comparison.html'}" in out
    assert (tmp_path / "comparison.html").read_text().count("<article>") == 1
    assert json.loads((tmp_path / "comparison.json").read_text())["models"][1]["name"] == str(folders / "one")


def test_bad_input_is_one_line(atv_command, folders, tmp_path):
    for words, message in (
        ([folders / "dense"], "folders: expected two or more to compare"),
        ([folders / "dense", tmp_path], "no answers there; expected what atv evaluate --output wrote"),
        ([folders / "dense", folders / "dense"], "appears twice"),
        ([f"{folders / 'one'},{folders}/./one", folders / "two"], "the same folder appears twice"),
        ([folders / "dense", folders / "one" / "answers.parquet"], "expected a folder or a JSONL file, got"),
        ([folders / "dense", folders / "one", "--data", tmp_path], "name one with --benchmark"),
        ([folders / "dense", folders / "one", "--flips", -1], "flips: expected 0 or more, got -1"),
    ):
        assert message in atv_command.refused("compare", *words).splitlines()[-1]
    (tmp_path / "theirs.jsonl").write_text("{}\n")
    code, _, err = atv_command("compare", folders / "dense", tmp_path / "theirs.jsonl")
    assert code == 2 and "theirs.jsonl, line 1: has nothing; expected question_id and prediction" in err


def test_a_models_folder_is_told_from_one_with_answers(atv_command, folders, pruned):
    said = atv_command.refused("compare", folders / "dense", pruned).splitlines()[-1]
    assert f"{str(pruned)!r}: a model, not its answers, which `atv evaluate --model {pruned} --output" in said
    run = folders / "half" / "run.json"
    run.parent.mkdir()
    run.write_text("{}")
    said = atv_command.refused("compare", folders / "dense", run.parent).splitlines()[-1]
    assert f"{str(run.parent)!r} holds no ablation's results: no findings.json" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmark", "POPE", "--evaluation", "bundled"], "evaluation and split are for suites only"),
        (["--split", "dev"], "split: 'dev' belongs to a suite: name the suite with --evaluation"),
    ],
)
def test_options_of_a_suite_are_refused_where_none_is_named(atv_command, folders, options, message):
    assert message in atv_command.refused("compare", folders / "dense", folders / "one", *options)


def test_a_dense_model_is_no_seed_of_a_pruned_one(atv_command, folders, pruned):
    for name, model in (("one", BUNDLED_MODEL), ("two", pruned)):
        shutil.copytree(folders / name, folders / f"{name} named")
        file = folders / f"{name} named" / "scores.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model": str(model)}))
    said = atv_command.refused("compare", folders / "dense", f"{folders / 'one named'},{folders / 'two named'}")
    assert "two named' is not another seed of " in said and "pruned is False there and True here" in said
    # One model's answers twice, in two folders.
    shutil.copytree(folders / "two named", folders / "again")
    said = atv_command.refused("compare", folders / "dense", f"{folders / 'two named'},{folders / 'again'}")
    assert "two named: the same seed appears twice (0, 0)" in said


def test_what_was_really_pruned_and_asked(atv_command, small_pool, tmp_path):
    evaluation_set("dev", 2).save_to_disk(tmp_path / "questions")
    pruned = ["--output", tmp_path / "sparse", "--samples", 4, "--calibration", small_pool, "--sparsity", 0.9]
    assert atv_command("prune", *pruned)[0] == 0
    for model, name in (("bundled", "before"), (tmp_path / "sparse", "after")):
        asked = ["--model", model, "--evaluation", tmp_path / "questions", "--output", tmp_path / name]
        assert atv_command("evaluate", *asked)[0] == 0
    atv_command.done("compare", tmp_path / "before", tmp_path / "after", "--output", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "comparison.json").read_text())
    average, scores = told["rows"][0], json.loads((tmp_path / "after" / "scores.json").read_text())
    assert average["second"] == pytest.approx(100 * sum(task["score"] for task in scores["tasks"].values()) / 9)
    assert average["difference"] < 0 < average["lost"] and average["agreement"] < 1
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert text.count("data:image/png") > 1 and "No picture" not in text
