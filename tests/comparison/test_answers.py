"""Answers are read from every kind of folder, and compared only where all were asked the same in the same way."""

import json

import pandas as pd
import pytest
from helpers.answered import benchmark_folder, cell_folder, mostly, suite, suite_folder

import atv
from atv.comparison.alike import check_alike
from atv.comparison.answers import read_folder


@pytest.fixture(scope="module")
def questions():
    return suite(1)


def test_every_kind_of_folder_is_read(questions, data, tmp_path):
    whole = read_folder(suite_folder(tmp_path / "suite", mostly(0), questions))
    cell = read_folder(cell_folder(tmp_path / "cell", mostly(0), questions, {"method": "ATV"}, seed=4))
    some = read_folder(benchmark_folder(tmp_path / "some", mostly(), data, "POPE", "MME"))
    assert len(whole.tasks) == 9 and some.tasks == ["MME", "POPE"] and len(whole.rows) == 13
    assert (cell.name, cell.seeds, whole.seeds) == ("method ATV", (4,), (None,))
    assert whole.asked_with["paired"] == cell.asked_with["paired"] and some.asked_with["MME"]["version"] == "2"
    for answers in (whole, cell, some):
        assert answers.rows["question_id"].is_unique
        assert answers.rows["picture"].str.len().eq(16).all() and answers.rows["ended"].all()
    check_alike(whole, cell)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("suite", lambda rows: rows.assign(answer="x"), r"13 questions differ in right answer, such as '\S+': "),
        ("suite", lambda rows: rows.assign(seen="0"), "13 questions differ in picture or text"),
        ("suite", lambda rows: rows.assign(question="Why?"), "differ in wording, such as .* there and 'Why.' here"),
        ("suite", lambda rows: rows.iloc[1:], "1 questions are only there, such as"),
        (
            "suite",
            lambda rows: rows[rows["task"] != "paired"],
            "tasks are .*paired.* there and .* here; use --benchmark",
        ),
        ("suite", lambda rows: pd.concat([rows, rows.iloc[:1]]), "1 questions are answered twice, such as"),
        ("suite", lambda rows: rows.drop(columns="credit"), "answers.parquet: its answers lack credit"),
        ("suite", lambda rows: rows.iloc[:0], "answers.parquet holds no answer"),
        ("suite", lambda rows: rows.assign(credit=float("nan")), "answers.parquet: 0.credit is None: Input should"),
        ("suite", lambda rows: rows.assign(credit=2), "answers.parquet: 0.credit is 2.*: Input should be less than"),
        ("suite", lambda rows: rows.assign(credit="1"), "answers.parquet: 0.credit is '1': Input should be a valid"),
        ("suite", lambda rows: rows.assign(prediction=None), "answers.parquet: 0.prediction is None: Input should"),
        ("suite", lambda rows: rows.assign(group=3), "answers.parquet: 0.group is 3: Input should be a valid string"),
    ],
)
def test_other_questions_are_refused_with_what_differs(name, change, message, questions, tmp_path):
    first, other = (suite_folder(tmp_path / part, mostly(), questions) for part in ("first", "other"))
    change(pd.read_parquet(other / "answers.parquet")).to_parquet(other / "answers.parquet")
    with pytest.raises(ValueError, match=message):
        atv.compare(first, other)


def test_another_way_of_asking_is_refused_with_what_differs(questions, data, tmp_path):
    first = suite_folder(tmp_path / "first", mostly(), questions)
    for number, (how, message) in enumerate(
        [
            ({"max_new_tokens": 16}, "max_new_tokens is 8 there and 16 here"),
            ({"chat template": "another"}, "chat template is 'a digest' there and 'another' here"),
            ({"pictures": {"image_processor": {"max_pixels": 9}}}, "pictures is None there and .*max_pixels"),
        ]
    ):
        other = suite_folder(tmp_path / f"other {number}", mostly(), questions, **how)
        with pytest.raises(ValueError, match=f"cannot be compared with .*: circular: {message}"):
            atv.compare(first, other)
    pope = benchmark_folder(tmp_path / "pope", mostly(), data, "POPE")
    both = benchmark_folder(tmp_path / "both", mostly(), data, "POPE", "MME", max_new_tokens=9)
    with pytest.raises(ValueError, match="use --benchmark to name benchmarks that both have"):
        atv.compare(pope, both)
    with pytest.raises(ValueError, match="POPE: max_new_tokens is 8 there and 9 here"):
        atv.compare(pope, both, benchmark="POPE")
    with pytest.raises(ValueError, match="was not asked MME; it was asked POPE"):
        atv.compare(pope, both, benchmark="MME")


def test_folders_that_do_not_tell_are_refused_by_name(questions, tmp_path):
    with pytest.raises(ValueError, match="no such folder or file; expected what atv evaluate"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no answers there"):
        read_folder(tmp_path)
    old = suite_folder(tmp_path / "old", mostly(), questions)
    told = json.loads((old / "scores.json").read_text())
    told.pop("asked_with")
    (old / "scores.json").write_text(json.dumps(told | {"schema": 1}))
    with pytest.raises(ValueError, match=r"an earlier version of atv wrote the answers to the suite.*evaluate again"):
        read_folder(old)
    unasked = cell_folder(tmp_path / "unasked", mostly(), questions, {"method": "ATV"})
    (unasked / "rows.parquet").unlink()
    with pytest.raises(ValueError, match="the cell was asked no questions"):
        read_folder(unasked)


def test_cells_of_earlier_versions_are_compared_with_each_other_alone(questions, tmp_path):
    def older(name, **inputs):
        given = {"model": "m", "questions": "q", "max_new_tokens": "8"} | inputs
        folder = cell_folder(tmp_path / name, mostly(), questions, {"method": name}, inputs=given, asked_with={})
        rows = pd.read_parquet(folder / "rows.parquet")
        rows.drop(columns=["seen", "picture", "question", "ended"]).to_parquet(folder / "rows.parquet")
        return folder

    one, two, third = older("one"), older("two"), older("third", model="another")
    found = atv.compare(one, two)
    assert found.rows[0].effect.value == 0 and not found.pictured and found.fluency["method one"].unended is None
    with pytest.raises(ValueError, match="was written by an earlier version of atv, which did not record how"):
        atv.compare(one, third)
