"""The benchmark that the docs show, and the numbers in their table."""

import re
from pathlib import Path

import pyarrow.parquet as pq
from helpers.benchmark_data import PICTURE, picture, table

from atv.evaluation.benchmarks import NINE
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.plugins import load_file

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()


def test_the_example_asks_its_question(tmp_path):
    (tmp_path / "docs_benchmark.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.S)[1])
    load_file(tmp_path / "docs_benchmark.py")
    row = {"id": "7", "image": picture("red"), "question": "What color?", "answer": "red"}
    pq.write_table(table([row], id=None, image=PICTURE, question=None, answer=None), tmp_path / "test-0.parquet")
    (only,) = load_benchmark("atv_plugin_docs_benchmark.Colors", tmp_path).questions
    assert (only.question["question_id"], only.question["question"]) == ("7", "What color?\nAnswer with one word.")


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
