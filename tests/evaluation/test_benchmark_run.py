"""Benchmarks asked of the bundled model: any batch size, any order, killed and gone on with."""

import copy
import json
import os
import signal

import pandas as pd
import pytest
from datasets import Dataset, Image
from helpers.benchmark_data import read_lines

from atv.data.sources import load_evaluation
from atv.evaluation.answer_tables import read_answers, write_answers
from atv.evaluation.benchmark_run import TRIED, ask_benchmark
from atv.evaluation.benchmarks.asked import question_rows
from atv.evaluation.benchmarks.loaded import LoadedBenchmark, load_benchmark
from atv.evaluation.generation import GreedyAnswers, predict
from atv.evaluation.predictions import Prediction, Predictions
from atv.evaluation.question_sets import Suite
from atv.evaluation.questions import QuestionBatch, question_batches
from atv.runtime.preemption import Preempted
from atv.runtime.trainer import quiet_trainer


@pytest.fixture(scope="module")
def loaded(data):
    return load_benchmark("MMBench", data)


@pytest.fixture
def asked_of(monkeypatch):
    """The questions that the model is asked; the first entry of ``stop`` is how many batches end the run."""
    ids, stop, step = [], [], GreedyAnswers.predict_step

    def noting(self, batch, index):
        if stop and index >= stop[0]:
            raise KeyboardInterrupt
        ids.extend(question["question_id"] for question in (batch.questions if batch else ()))
        return step(self, batch, index)

    monkeypatch.setattr(GreedyAnswers, "predict_step", noting)
    return ids, stop


def ask(loaded, bundled, folder=None, **options):
    return ask_benchmark(loaded, *bundled, quiet_trainer(enable_progress_bar=False), folder, **options)


@pytest.fixture(scope="module")
def whole(loaded, bundled):
    return ask(loaded, bundled, max_new_tokens=4)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batch_size_and_order_of_rows_move_nothing(batch_size, loaded, bundled, whole):
    rows = loaded.rows.shuffle(seed=batch_size)
    turned = LoadedBenchmark(loaded.benchmark, rows, question_rows(loaded.benchmark, rows), loaded.revision)
    again = ask(turned, bundled, batch_size=batch_size, max_new_tokens=4)
    pd.testing.assert_frame_equal(again.answers, whole.answers)
    assert again.row() == whole.row()


def test_a_result_row_has_counts_and_what_pins_the_benchmark(whole):
    row = whole.row()
    assert (row["of"], row["questions"], row["maximum"]) == (3, 9, 100)
    assert row["score"] == pytest.approx(100 * row["right"] / 3)
    assert row["unread"] == whole.answers["read"].isna().sum()
    assert (row["version"], row["hub"], row["config"], row["split"]) == ("2", "lmms-lab-encoder/MMBench", "en", "dev")
    assert (row["revision"], len(row["digest"]), set(row["categories"])) == ("local", 16, {"coarse", "fine"})


def test_a_killed_run_goes_on_and_asks_nothing_twice(loaded, bundled, whole, asked_of, tmp_path):
    ids, stop = asked_of
    stop.append(2)
    with pytest.raises(KeyboardInterrupt):
        ask(loaded, bundled, tmp_path, batch_size=2, max_new_tokens=4)
    assert len(ids) == 4 and not (tmp_path / "answers.jsonl").exists()
    stop.clear()
    done = ask(loaded, bundled, tmp_path, batch_size=3, max_new_tokens=4)
    assert len(ids) == len(set(ids)) == 9
    pd.testing.assert_frame_equal(done.answers, whole.answers)
    ask(loaded, bundled, tmp_path, max_new_tokens=4)
    assert len(ids) == 9
    lines = read_lines(tmp_path / "answers.jsonl")
    assert [line["question_id"] for line in lines] == whole.answers["question_id"].tolist()


def test_a_question_that_cannot_be_asked_is_told_again_and_ends_nothing(data, bundled, asked_of, tmp_path):
    """Not even where it is all that was left, or where one picture is that of the shortest questions."""
    rows = load_benchmark("POPE", data).rows.cast_column("image", Image(decode=False)).to_list()
    rows = [row | {"id": str(number), "question_id": str(number)} for number, row in enumerate(rows * 4)]
    for number, row in enumerate(rows):
        if number < TRIED:
            row |= {"image": row["image"] | {"bytes": row["image"]["bytes"][:60]}, "question": "What ?"}
    kind = load_benchmark("POPE", data).benchmark
    table = Dataset.from_list(rows)
    loaded = LoadedBenchmark(kind, table, question_rows(kind, table), "local")
    results = [ask(loaded, bundled, tmp_path, max_new_tokens=1) for _ in range(2)]
    assert [len(result.row()["faulty"]) for result in results] == [TRIED, TRIED]
    assert len(asked_of[0]) == len(rows) - TRIED
    assert results[0].row() == results[1].row()


def test_a_limited_run_can_be_widened(loaded, bundled, whole, asked_of, tmp_path):
    first = LoadedBenchmark(loaded.benchmark, loaded.rows, question_rows(loaded.benchmark, loaded.rows, 1), "local")
    assert len(ask(first, bundled, tmp_path, max_new_tokens=4).answers) == 3
    pd.testing.assert_frame_equal(ask(loaded, bundled, tmp_path, max_new_tokens=4).answers, whole.answers)
    assert len(asked_of[0]) == 9


def test_another_run_is_not_let_in(loaded, bundled, tmp_path):
    ask(loaded, bundled, tmp_path, max_new_tokens=1)
    with pytest.raises(ValueError, match="holds another run: max_new_tokens is 1 there and 2 here"):
        ask(loaded, bundled, tmp_path, max_new_tokens=2)


def test_another_precision_is_not_let_in(loaded, bundled, tmp_path):
    model, processor = bundled
    half = quiet_trainer(enable_progress_bar=False, precision="bf16-true")
    ask_benchmark(loaded, copy.deepcopy(model), processor, half, tmp_path, max_new_tokens=1)
    with pytest.raises(ValueError, match="holds another run: precision is 'bf16-true' there and None here"):
        ask(loaded, bundled, tmp_path, max_new_tokens=1)


def test_starts_that_differ_are_told(loaded, bundled, tmp_path, monkeypatch):
    first = LoadedBenchmark(loaded.benchmark, loaded.rows, question_rows(loaded.benchmark, loaded.rows, 1), "local")
    second = LoadedBenchmark(loaded.benchmark, loaded.rows, question_rows(loaded.benchmark, loaded.rows, 2), "local")
    assert "starts" not in ask(first, bundled, tmp_path, max_new_tokens=1).row()
    assert "starts" not in ask(second, bundled, tmp_path, max_new_tokens=1).row()
    monkeypatch.setattr("atv.evaluation.predictions.provenance", lambda: {"hardware": "another"})
    for _ in range(2):
        starts = ask(loaded, bundled, tmp_path, max_new_tokens=1).row()["starts"]
        assert len(starts) == 2 and starts[1] == {"hardware": "another", "device": starts[0]["device"]}


class Interrupting:
    """A batch in whose making the process is sent SIGTERM; counts how often it was asked for."""

    def __init__(self, batch: QuestionBatch, send: bool) -> None:
        self._batch, self._send, self.asked = batch, send, 0

    def askable(self):
        self.asked += 1
        if self._send:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._batch


def test_sigterm_ends_the_questions_after_the_batch_in_hand_and_restores_the_handler(bundled):
    model, processor = bundled
    batches = question_batches(processor, load_evaluation("bundled", "dev", 1), batch_size=1, groups=1)[:4]
    asked = [Interrupting(batch, send=number == 1) for number, batch in enumerate(batches)]
    before = signal.getsignal(signal.SIGTERM)
    trainer = quiet_trainer()
    with pytest.raises(Preempted, match="stopped by SIGTERM; no progress was saved"):
        predict(model, processor, asked, 2, trainer)
    assert not trainer.received_sigterm  # Lightning's handler would speak to other ranks from within the signal.
    # A loader may have the next batch ready.
    assert [each.asked for each in asked[:2]] == [1, 1] and asked[3].asked == 0
    assert signal.getsignal(signal.SIGTERM) is before


def suite(groups=None):
    """Tasks of five and of four groups, each of two questions."""
    rows = [
        (task, f"{task}{group}") for task, count in (("a", 5), ("b", 4)) for group in range(count) for _ in range(2)
    ]
    return Suite(
        Dataset.from_dict({"task": [row[0] for row in rows], "group": [row[1] for row in rows]}), "x", "test", groups
    )


def test_parts_are_all_questions_once_in_whole_groups():
    parts = [suite().group_range(start, end) for start, end in ((0, 1), (1, 3), (3, 5))]
    asked = [list(dict.fromkeys(part.rows["group"])) for part in parts]
    assert asked == [["a0", "b0"], ["a1", "a2", "b1", "b2"], ["a3", "a4", "b3"]]
    assert sum(len(part.rows) for part in parts) == 18 and all(part.groups is None for part in parts)


def test_size_is_that_of_the_smallest_task_and_of_what_was_asked_for():
    assert (suite().size, suite(3).size, suite(9).size) == (4, 3, 4)


def made(*names):
    return [({"question_id": name}, f"said {name}\n\u2028 é") for name in names]


def test_batches_of_all_ranks_are_read_back(tmp_path):
    predictions = Predictions(tmp_path / "predictions")
    assert predictions.read() == {}
    predictions.append(0, made("a", "b"))
    predictions.append(1, made("c"))
    predictions.append(0, made("d"))
    assert predictions.read() == {name: Prediction(f"said {name}\n\u2028 é") for name in "abcd"}


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
    with pytest.raises(ValueError, match=r"^output: .*rank-000.jsonl' is damaged: line 2 is not an answer"):
        Predictions(tmp_path).read()


def test_of_two_answers_to_a_question_the_first_counts(tmp_path):
    predictions = Predictions(tmp_path)
    predictions.append(0, [({"question_id": "a"}, "one")])
    predictions.append(1, [({"question_id": "a"}, "two")])
    assert predictions.read() == {"a": Prediction("one")}


def test_answers_come_back_as_they_were(tmp_path):
    shared = {"task": "GQA", "metric": "ExactMatch", "category": "all", "group": "a", "answer": "x", "prediction": "x"}
    rows = [
        {"question_id": "a", "options": ["x", "y"], "read": None, "credit": 0.1 + 0.2},
        {"question_id": "b", "read": "B\u2028", "credit": 1.0},
    ]
    write_answers(tmp_path / "answers.jsonl", pd.DataFrame(rows).assign(**shared))
    back = read_answers(tmp_path / "answers.jsonl").to_dict("records")
    assert back[0]["options"] == ["x", "y"] and back[1]["read"] == "B\u2028"
    assert abs(back[0]["credit"] - 0.3) < 1e-9 and pd.isna(back[0]["read"])


def test_an_answer_that_is_cut_off_is_named(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"question_id": "a"}\n{"question_')
    with pytest.raises(ValueError, match=r"answers.jsonl' is not valid JSON in line 2"):
        read_answers(tmp_path / "answers.jsonl")
