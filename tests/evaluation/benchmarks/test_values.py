"""Cells of other types than the hub's: read where they say the same, named before anything is asked where not."""

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.benchmark_data import mmbench, mme, mmmu, ok_vqa, pope, scienceqa

from atv.bundled import BUNDLED_MODEL
from atv.evaluation.benchmarks import POPE
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.evaluation.benchmarks.values import text, texts, whole_number
from atv.model.loading import load_processor

MAKE = {"OKVQA": ok_vqa, "POPE": pope, "ScienceQA": scienceqa, "MMBench": mmbench, "MME": mme, "MMMU": mmmu}
SPLITS = {"OKVQA": "val2014", "ScienceQA": "test", "MMBench": "dev", "MMMU": "validation"}


def altered(folder, name, **columns):
    """A copy of the benchmark in which a function of the old cell, or a value, makes each column anew."""
    rows = MAKE[name]().to_pylist()
    for column, change in columns.items():
        column = column.replace("L2_", "L2-")
        for row in rows:
            row[column] = change(row[column]) if callable(change) else change
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{SPLITS.get(name, 'test')}-0.parquet")
    return folder


SAME = {
    "answers as structs": ("OKVQA", {"answers": lambda c: [{"answer": a, "answer_id": n} for n, a in enumerate(c)]}),
    "answers as a struct of lists": ("OKVQA", {"answers": lambda c: {"answer": c, "answer_confidence": ["yes"] * 10}}),
    "answers as JSON": ("OKVQA", {"answers": json.dumps}),
    "answers as Python": ("OKVQA", {"answers": str}),
    "no kind of answer": ("OKVQA", {"question_type": None}),
    "pictures as bytes": ("POPE", {"image": lambda c: c["bytes"]}),
    "pictures as base64": ("POPE", {"image": lambda c: base64.b64encode(c["bytes"]).decode()}),
    "pictures as a list of one": ("POPE", {"image": lambda c: [c]}),
    "an answer as a list of one": ("POPE", {"answer": lambda c: [c]}),
    "options as a list": ("MMMU", {"options": lambda c: json.loads(c.replace("'", '"'))}),
    "options as JSON": ("MMMU", {"options": lambda c: c.replace("'", '"')}),
    "options as structs": ("MMMU", {"options": lambda c: [{"text": o} for o in json.loads(c.replace("'", '"'))]}),
    "choices as Python": ("ScienceQA", {"choices": str}),
    "a number as text": ("ScienceQA", {"answer": str}),
    "a number with a fraction of nought": ("MMBench", {"index": float}),
    "no hint": ("MMBench", {"hint": lambda c: None if c == "nan" else c, "D": None}),
}


@pytest.mark.parametrize("case", SAME)
def test_other_types_that_say_the_same(case, tmp_path, data):
    name, columns = SAME[case]
    asked, plain = load_benchmark(name, altered(tmp_path, name, **columns)), load_benchmark(name, data)
    keys = ("question", "answer", "answers", "options", "category")
    assert [[each.question[key] for key in keys] for each in asked.questions] == [
        [each.question[key] for key in keys] for each in plain.questions
    ]


OTHER = {
    "null answers": ("OKVQA", {"answers": None}, "column 'answers' holds None, a NoneType; expected a list of texts"),
    "one answer of ten": ("OKVQA", {"answers": "red"}, "column 'answers' holds 'red', a str; expected a list"),
    "no answers": ("OKVQA", {"answers": "[]"}, "column 'answers' holds '[]'"),
    "a null among answers": ("OKVQA", {"answers": lambda c: [*c[:9], None]}, "an entry of column 'answers' is None"),
    "neither yes nor no": ("POPE", {"answer": "maybe"}, "column 'answer' holds 'maybe'; expected one of yes, no"),
    "a truth": ("POPE", {"answer": True}, "column 'answer' is True, a bool"),
    "a null answer": ("MME", {"answer": None}, "column 'answer' is None"),
    "a null question": ("MMBench", {"question": None}, "column 'question' is None"),
    "no right option": ("MMBench", {"answer": "D"}, "column 'answer' holds 'D'; expected one of A, B, C"),
    "no id": ("MMBench", {"index": None}, "column 'index' is null"),
    "an answer beyond the choices": ("ScienceQA", {"answer": 7}, "column 'answer' holds '7'; expected one of 0, 1, 2"),
    "an answer between the choices": ("ScienceQA", {"answer": 0.5}, "column 'answer' holds 0.5, a float"),
    "options in words": ("MMMU", {"options": "star or ring"}, "column 'options' holds 'star or ring'"),
    "megabytes": ("POPE", {"answer": "x" * 3_000_000}, "column 'answer' holds 'xxx"),
    "no picture": ("POPE", {"image": lambda c: {"bytes": None, "path": None}}, "it has no picture"),
    "a URL": ("POPE", {"image": "https://a.org/b.jpg"}, "is a URL, which atv does not fetch"),
    "a path to nothing": ("POPE", {"image": "nowhere.jpg"}, "nowhere.jpg' cannot be read"),
    "a picture of numbers": ("POPE", {"image": 7}, "a value of type int (7) is not a picture"),
}


@pytest.mark.parametrize("case", OTHER)
def test_what_says_something_else_is_named_before_any_is_asked(case, tmp_path):
    name, columns, message = OTHER[case]
    with pytest.raises(ValueError) as error:
        load_benchmark(name, altered(tmp_path, name, **columns))
    said = str(error.value)
    assert message in said and said.startswith(f"{name}: ") and len(said) < 500


def test_paths_lie_beside_the_data(tmp_path, data):
    contents = [row["image"]["bytes"] for row in pope().to_pylist()]
    names = iter([f"{place}.png" for place in range(len(contents))])
    for place, content in enumerate(contents):
        (tmp_path / f"{place}.png").write_bytes(content)
    loaded = load_benchmark("POPE", altered(tmp_path, "POPE", image=lambda _: next(names)))
    processor = load_processor(BUNDLED_MODEL)
    shown = [batch.inputs["pixel_values"] for batch in loaded.batches(processor)]
    plain = [batch.inputs["pixel_values"] for batch in load_benchmark("POPE", data).batches(processor)]
    assert all(one.equal(other) for one, other in zip(shown, plain, strict=True))


LISTS = [
    (["a", 1], ("a", "1")),
    ({"B": "b", "A": "a"}, ("a", "b")),
    ({"text": ["a"], "label": ["A"]}, ("a",)),
    ("[1, 2]", ("1", "2")),
]


@pytest.mark.parametrize(("cell", "expected"), LISTS)
def test_lists_of_texts(cell, expected):
    assert texts({"x": cell}, "x") == expected


def test_texts_and_numbers():
    assert [text({"x": cell}, "x", "-") for cell in (3, {"answer": "a"}, ["b"], None)] == ["3", "a", "b", "-"]
    assert whole_number({"x": "12"}, "x") == whole_number({"x": 12.0}, "x") == 12
    for cell in ("1.5", 1.5, True, None, "x", float("nan"), float("inf")):
        with pytest.raises(ValueError, match="column 'x' holds"):
            whole_number({"x": cell}, "x")


def test_a_benchmark_may_ask_without_pictures(tmp_path, monkeypatch):
    blind = altered(tmp_path, "POPE", image=None)
    monkeypatch.setattr(POPE, "needs_picture", False)
    assert len(load_benchmark("POPE", blind).questions) == 6
