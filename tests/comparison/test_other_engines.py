"""Answers of other engines are scored by our metrics against the same questions, or refused by line."""

import json

import pytest
from helpers.answered import benchmark_folder, mostly, suite, suite_folder
from helpers.benchmark_data import read_lines

import atv
from atv.evaluation.benchmarks.loaded import load_benchmark


@pytest.fixture
def mmbench(data, tmp_path):
    """A folder of atv on MMBench with one wrong answer."""
    return benchmark_folder(tmp_path / "ours", mostly(0), data, "MMBench")


def lines(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def samples(data, name="MMBench"):
    """What lmms-eval 0.7.3 logs, in the data's order, one answer as text; the picture stands in the prompt."""
    return [
        {"doc_id": each.index, "target": each.question["answer"], "input": "<image>\n" + each.question["question"]}
        | {
            "filtered_resps": each.question["answer"] + ".",
            "token_counts": [None],
            "doc_hash": "x",
            "mmbench_en_dev": 1.0,
        }
        for each in load_benchmark(name, data).questions
    ]


def test_logged_samples_are_scored_by_our_metric(mmbench, data, tmp_path):
    lines(tmp_path / "log" / "model" / "20261125_010203_samples_mmbench_en_dev.jsonl", samples(data))
    found = atv.compare(mmbench, tmp_path / "log", benchmark="MMBench", data=data)
    row = found.rows[0]
    # "B." is read as B; the first folder's one wrong rotation costs a whole question.
    assert row.second == 100 and row.first == pytest.approx(100 * 2 / 3) and row.flips.gained == 1
    assert found.unrecorded == [str(tmp_path / "log")] and found.fluency[str(tmp_path / "log")].unended is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "Another question"}, r"line 1: was asked 'Another question', but here it is"),
        ({"input": None}, "does not say what was asked"),
        ({"doc_id": [1]}, r"doc_id \[1\] is not a question"),
        ({"doc_id": 900}, "doc_id 900 is not a question of the benchmark's data"),
        ({"filtered_resps": [[]]}, "its answer is .*; expected text"),
    ],
)
def test_logged_samples_that_are_not_of_these_questions_are_refused(change, message, mmbench, data, tmp_path):
    first, *rest = samples(data)
    file = lines(tmp_path / "x_samples_mmbench_en_dev.jsonl", [first | change, *rest])
    with pytest.raises(ValueError, match=message):
        atv.compare(mmbench, file, benchmark="MMBench", data=data)


def test_logged_samples_need_the_data_and_one_log_a_task(mmbench, data, tmp_path):
    file = lines(tmp_path / "log" / "1_samples_mmbench_en_dev.jsonl", samples(data))
    with pytest.raises(ValueError, match="is a sample of lmms-eval; name its benchmark with --benchmark"):
        atv.compare(mmbench, file)
    lines(tmp_path / "log" / "2_samples_mmbench_en_dev.jsonl", samples(data))
    with pytest.raises(ValueError, match="holds 2 logs of mmbench_en_dev"):
        atv.compare(mmbench, tmp_path / "log", benchmark="MMBench", data=data)


def test_any_jsonl_of_ids_and_answers_is_compared_with_a_folder(mmbench, tmp_path):
    asked = read_lines(mmbench / "MMBench" / "answers.jsonl")
    rows = [{"question_id": row["question_id"], "prediction": f"({row['answer']})", "ended": True} for row in asked]
    found = atv.compare(mmbench, lines(tmp_path / "vllm.jsonl", rows))
    assert found.rows[0].second == 100 and found.fluency[str(tmp_path / "vllm.jsonl")].unended == 0


def test_the_output_of_a_batch_tells_whether_answers_ended(mmbench, tmp_path):
    asked = read_lines(mmbench / "MMBench" / "answers.jsonl")
    rows = [
        {
            "custom_id": row["question_id"],
            "error": None,
            "response": {"status_code": 200, "body": {"choices": [choice]}},
        }
        for number, row in enumerate(asked)
        for choice in [{"message": {"content": row["answer"]}, "finish_reason": "length" if number < 3 else "stop"}]
    ]
    rows[8] |= {"response": None, "error": {"message": "too long"}}
    found = atv.compare(mmbench, lines(tmp_path / "batch.jsonl", rows))
    name = str(tmp_path / "batch.jsonl")
    assert found.fluency[name].unended == pytest.approx(3 / 8)
    last = found.models[1].rows.iloc[8]
    assert last["credit"] == 0 and "too long" in last["fault"]


def test_two_files_are_compared_on_a_suite_that_is_named(tmp_path):
    suite(1).save_to_disk(tmp_path / "questions")
    folder = suite_folder(tmp_path / "ours", mostly(3), suite(1), tmp_path / "questions")
    rows = [{"question_id": row["question_id"], "prediction": row["answer"] or "unanswerable"} for row in suite(1)]
    one = lines(tmp_path / "one.jsonl", rows)
    two = lines(tmp_path / "two.jsonl", [row | {"prediction": "no idea"} for row in rows])
    with pytest.raises(ValueError, match="the questions are not available: put a folder of atv evaluate first"):
        atv.compare(one, two)
    apart = atv.compare(one, two, evaluation=str(tmp_path / "questions"))
    with_ours = atv.compare(folder, one, two)
    assert apart.models[0].rows["credit"].tolist() == with_ours.models[1].rows["credit"].tolist()
    assert apart.rows[0].second < 20 < apart.rows[0].first and apart.pictured


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"theirs.jsonl' is not valid JSON in line 1"),
        ("[" * 100_000, r"theirs.jsonl' is not valid JSON in line 1"),
        ("", r"theirs.jsonl' holds no answer"),
        (b'{"question_id": "\xe9"}', r"theirs.jsonl' is not UTF-8 \(byte 0xe9 in line 1\)"),
        ('{"question_id": "1", "prediction": "\\ud83d"}', r"prediction holds half a surrogate pair"),
        ('{"question_id": "1", "prediction": "A", "ended": "stop"}', "ended is 'stop'; expected true or false"),
        (
            '{"custom_id": "1", "response": {"body": {"choices": [{"message": {"content": [3]}}]}}}',
            r"line 1: content is \[3\]; expected text",
        ),
        ("[1]", r"line 1: is \[1\]; expected an object"),
        ('{"id": 3, "text": "A"}', r"line 1: has id, text; expected question_id and prediction"),
        ('{"question_id": "nowhere", "prediction": "A"}', "question 'nowhere' is not among those"),
        ('{"question_id": "1", "prediction": 3}', "prediction is 3; expected text"),
        ('{"question_id": "1", "prediction": "A"}', "lacks answers to 8 of 9 questions, such as '0' of MMBench"),
        ('{"question_id": "1", "prediction": "A"}\n' * 2, "question '1' is answered twice"),
    ],
)
def test_lines_that_cannot_be_read_are_named(content, message, mmbench, tmp_path):
    (tmp_path / "theirs.jsonl").write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    with pytest.raises(ValueError, match=message):
        atv.compare(mmbench, tmp_path / "theirs.jsonl")
