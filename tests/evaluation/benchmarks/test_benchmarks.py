"""Each benchmark's prompts, ids and right answers, from files in the real layout."""

import re
from pathlib import Path
from textwrap import indent

import pyarrow.parquet as pq
import pytest
from helpers.benchmark_data import PICTURE, mmbench, picture, table

from atv.bundled.architecture import build_processor
from atv.data.pictures import decode
from atv.evaluation.benchmarks import NINE, Benchmark
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.evaluation.metrics import CircularChoice
from atv.plugins import find, load_file

BRIEFLY = "Answer the question using a single word or phrase."
ANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."
LETTER = "Answer with the option's letter from the given choices directly."

# Name -> (questions, the first one's prompt, its other facts).
FIRST = {
    "OKVQA": (6, f"What color?\n{ANSWERABLE}\n{BRIEFLY}", {"question_id": "0", "answers": ["red"] * 6 + ["no"] * 4}),
    "VizWiz": (6, f"What is this?\n{ANSWERABLE}\n{BRIEFLY}", {"question_id": "VizWiz_val_0.jpg", "category": "other"}),
    "TextVQA": (6, f"What is written?\n{BRIEFLY}", {"question_id": "34602", "answers": ["red"] * 10}),
    "GQA": (6, f"What is it?\n{BRIEFLY}", {"question_id": "200", "answer": "ring"}),
    "POPE": (6, f"Is there a ring in the image?\n{BRIEFLY}", {"question_id": "random/1", "answer": "yes"}),
    "ScienceQA": (5, f"Which?\nA. star\nB. ring\nC. line\n{LETTER}", {"answer": "A", "category": "natural science"}),
    "MMBench": (
        9,
        f"What color? There are several options:\nA. red\nB. nothing\nC. gold\n\n{LETTER}",
        {"question_id": "0", "group": "0", "answer": "A", "options": ["red", "nothing", "gold"], "category": "coarse"},
    ),
    "MME": (6, f"Is it red?\n{BRIEFLY}", {"group": "color/color/red.png", "answer": "yes", "category": "color"}),
    "MMMU": (
        2,
        f"See <image 1> here.\nA. star\nB. <image 2>\n\n{LETTER}",
        {"question_id": "validation_Art_Theory_1", "category": "Art_Theory", "options": ["star", "<image 2>"]},
    ),
}


@pytest.mark.parametrize("name", FIRST)
def test_rows_become_prompts(name, data):
    count, prompt, facts = FIRST[name]
    questions = [each.question for each in load_benchmark(name, data).questions]
    assert len(questions) == count == len({question["question_id"] for question in questions})
    assert questions[0]["question"] == prompt
    assert facts.items() <= questions[0].items()


def test_there_are_nine_and_each_is_tested():
    assert {kind.__name__ for kind in NINE} == set(FIRST)


def test_hints_come_before_questions(data):
    assert load_benchmark("MMBench", data).questions[3].question["question"].startswith("Look up. What color? There")
    assert load_benchmark("ScienceQA", data).questions[1].question["question"].startswith("Context: Look.\nWhich?\n")


def test_rotations_and_pairs_are_groups(data):
    for name, groups in (("MMBench", 3), ("MME", 3), ("POPE", 6)):
        assert len({each.question["group"] for each in load_benchmark(name, data).questions}) == groups


def test_options_of_mmbench_keep_their_letters_where_one_is_absent(tmp_path):
    row = mmbench().to_pylist()[0] | {"A": "cat", "B": None, "C": "dog", "D": "nan", "answer": "C"}
    pq.write_table(mmbench().from_pylist([row], schema=mmbench().schema), tmp_path / "dev-0.parquet")
    (only,) = load_benchmark("MMBench", tmp_path).questions
    assert "\nA. cat\nC. dog\n" in only.question["question"] and only.question["options"] == ["cat", "", "dog"]
    assert CircularChoice().credit("a dog", only.question) == 1


def test_open_questions_of_mmmu_have_no_options(data):
    last = load_benchmark("MMMU", data).questions[-1].question
    assert (last["question"], last["options"]) == (f"How many in <image 1>?\n\n{BRIEFLY}", [])


def test_gqa_finds_each_picture(data):
    loaded = load_benchmark("GQA", data)
    pixels = [decode(loaded.benchmark.pictures(loaded.rows[i])[1]).getpixel((0, 0)) for i in (1, 4)]
    assert pixels == [(0, 128, 0), (0, 128, 0)]


def test_mmmu_shows_the_pictures_that_are_there(data):
    loaded = load_benchmark("MMMU", data)
    assert [sorted(loaded.benchmark.pictures(row)) for row in loaded.rows] == [[1, 2], [1]]


def test_points_of_mme():
    assert [kind().total(0.5)[0] for kind in NINE] == [50] * 7 + [1400, 50]


PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()


def test_the_example_asks_its_question(tmp_path):
    (tmp_path / "docs_benchmark.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.S)[1])
    load_file(tmp_path / "docs_benchmark.py")
    row = {"id": "7", "image": picture("red"), "question": "What color?", "answer": "red"}
    pq.write_table(table([row], id=None, image=PICTURE, question=None, answer=None), tmp_path / "test-0.parquet")
    (only,) = load_benchmark("atv_plugin_docs_benchmark.Colors", tmp_path).questions
    assert (only.question["question_id"], only.question["question"]) == ("7", "What color?\nAnswer with one word.")


def one_asked(tmp_path, body, row, **types):
    """What is given for the one row to a benchmark like the docs' whose class has this body, too."""
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1] + "\n\nclass Own(Colors):\n" + indent(body, "    ")
    (tmp_path / "own_benchmark.py").write_text(code)
    load_file(tmp_path / "own_benchmark.py")
    row = {"id": "7", "question": "What color?", "answer": "red"} | row
    pq.write_table(table([row], id=None, question=None, answer=None, **types), tmp_path / "test-0.parquet")
    (batch,) = load_benchmark("atv_plugin_own_benchmark.Own", tmp_path).batches(build_processor())
    return batch.inputs


def test_pictures_are_those_of_the_columns_that_are_named(tmp_path):
    body = 'columns = ("id", "question", "answer")\npicture_columns = ("photo", "other", "third")\n'
    row = {"photo": picture("red"), "other": None, "third": picture("blue")}
    inputs = one_asked(tmp_path, body, row, photo=PICTURE, other=PICTURE, third=PICTURE)
    red, blue = inputs["pixel_values"]
    assert red[0].mean() > red[2].mean() and blue[0].mean() < blue[2].mean()


def test_rows_without_a_column_of_pictures_are_asked_where_none_is_needed(tmp_path):
    body = 'columns = ("id", "question", "answer")\n'
    assert "pixel_values" not in one_asked(tmp_path, f"{body}needs_picture = False\n", {})
    with pytest.raises(ValueError, match=r"^it has no picture \(image\)$"):
        one_asked(tmp_path, body, {})


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ('hub, split = "me/colors", "test"\n', "hub, split"),
        ('metric, max_new_tokens = "ExactMatch", 16\n', "metric, max_new_tokens"),
    ],
)
def test_what_a_benchmark_does_not_say_is_named(tmp_path, line, lacking):
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    (tmp_path / "short_benchmark.py").write_text(code.replace(line, "pass\n"))
    load_file(tmp_path / "short_benchmark.py")
    for given in ("atv_plugin_short_benchmark.Colors", find("atv_plugin_short_benchmark.Colors", Benchmark, "")()):
        with pytest.raises(ValueError, match=f"^benchmark: Colors cannot be used: it does not define {lacking}$"):
            load_benchmark(given, tmp_path)


def test_the_table_is_the_code():
    rows = {
        cells[0].strip("`"): cells
        for cells in (line[2:-2].split(" | ") for line in PAGE.splitlines())
        if len(cells) == 6
    }
    for kind in NINE:
        _, where, _, _, length, task = rows[kind.__name__]
        assert where.startswith(kind.hub) and where.endswith(kind.split) and (kind.config or "") in where
        assert (int(length.replace(",", "")), task) == (kind.max_new_tokens, kind.lmms_eval)
