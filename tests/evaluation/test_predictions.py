import json

import pandas as pd
import pytest

from atv.evaluation.predictions import Predictions, read_answers, write_answers


def made(*names):
    return [({"question_id": name}, f"said {name}\n\u2028 é") for name in names]


def test_batches_of_all_ranks_are_read_back(tmp_path):
    predictions = Predictions(tmp_path / "predictions")
    assert predictions.read() == {}
    predictions.append(0, made("a", "b"))
    predictions.append(1, made("c"))
    predictions.append(0, made("d"))
    assert predictions.read() == {name: f"said {name}\n\u2028 é" for name in "abcd"}


def test_a_torn_line_does_not_count_and_is_cut_off(tmp_path):
    predictions = Predictions(tmp_path)
    predictions.append(0, made("a", "b"))
    file = tmp_path / "rank-000.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert set(predictions.read()) == {"a"}
    predictions.append(0, made("b"))
    assert list(predictions.read()) == ["a", "b"]
    assert [json.loads(line)["question_id"] for line in file.read_text().splitlines()] == ["a", "b"]


def test_a_line_that_is_no_answer_is_named(tmp_path):
    Predictions(tmp_path).append(0, [({"question_id": "a"}, "yes")])
    with open(tmp_path / "rank-000.jsonl", "ab") as file:
        file.write(b"\0\0\0\n")
    with pytest.raises(ValueError, match=r"^output: .*rank-000.jsonl' is damaged: line 2 is no answer"):
        Predictions(tmp_path).read()


def test_of_two_answers_to_a_question_the_first_counts(tmp_path):
    predictions = Predictions(tmp_path)
    predictions.append(0, [({"question_id": "a"}, "one")])
    predictions.append(1, [({"question_id": "a"}, "two")])
    assert predictions.read() == {"a": "one"}


def test_answers_come_back_as_they_were(tmp_path):
    rows = [
        {"question_id": "a", "options": ["x", "y"], "read": None, "credit": 0.1 + 0.2},
        {"read": "B\u2028", "credit": 1.0},
    ]
    write_answers(tmp_path / "answers.jsonl", pd.DataFrame(rows))
    back = read_answers(tmp_path / "answers.jsonl").to_dict("records")
    assert back[0]["options"] == ["x", "y"] and back[1]["read"] == "B\u2028"
    assert abs(back[0]["credit"] - 0.3) < 1e-9 and pd.isna(back[0]["read"])


def test_an_answer_that_is_cut_off_is_named(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"question_id": "a"}\n{"question_')
    with pytest.raises(ValueError, match=r"answers.jsonl' is no JSON in line 2"):
        read_answers(tmp_path / "answers.jsonl")
