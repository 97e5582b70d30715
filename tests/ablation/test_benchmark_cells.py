"""An ablation's cells are asked benchmarks as ``atv evaluate`` asks them."""

from dataclasses import replace

import pytest
from datasets import Dataset, Image

from atv.ablation.bench import Bench, prompt_sets_of
from atv.ablation.grid import Grid, GridSettings
from atv.ablation.measuring import answers_of
from atv.bundled.data import evaluation_set
from atv.data import Bundled
from atv.evaluation.benchmark_run import ask_benchmark
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.evaluation.question_sets import Benchmarks, Suite
from atv.runtime.trainer import quiet_trainer


@pytest.fixture
def cut_off(data):
    """POPE with pictures of some rows cut off behind their headers, which every other check lets through."""

    def made(*places):
        loaded = load_benchmark("POPE", data)
        rows = loaded.rows.cast_column("image", Image(decode=False)).to_list()
        for place in places:
            rows[place]["image"]["bytes"] = rows[place]["image"]["bytes"][:60]
        return replace(loaded, rows=Dataset.from_list(rows).cast(loaded.rows.features))

    return made


def test_a_question_that_cannot_be_asked_is_told_once_and_wrong_in_every_cell(cut_off, bundled, capsys):
    (model, processor), trainer, loaded = bundled, quiet_trainer(enable_progress_bar=False), cut_off(1, 4)
    asked = ask_benchmark(loaded, model, processor, trainer, max_new_tokens=1).answers
    capsys.readouterr()
    bench = Bench(model, processor, Bundled(), prompt_sets_of(Benchmarks([loaded]), model, processor, 1), 4)
    for told in (2, 0):
        rows = answers_of(model, bench, trainer)
        rows, expected = (each.set_index("question_id").sort_index(axis=1) for each in (rows, asked))
        assert rows.equals(expected) and rows["fault"].notna().sum() == 2
        assert capsys.readouterr().err.count("it counts as wrong") == told


def test_a_benchmark_of_which_nothing_can_be_asked_is_refused_first(cut_off, bundled):
    with pytest.raises(ValueError, match=r"^POPE: no question can be asked, for example 'popular/1'"):
        prompt_sets_of(Benchmarks([cut_off(*range(6))]), *bundled)


def test_types_that_read_a_batch_otherwise_are_asked_and_calibrated_one_by_one(bundled, monkeypatch):
    model, processor = bundled
    monkeypatch.setattr("atv.ablation.bench.read_alone", lambda model, **_: True)
    asked = prompt_sets_of(Suite(evaluation_set("dev", 1), "bundled", "dev"), model, processor)
    assert {len(batch.questions) for batch in asked[0].batches} == {1}
    samples = Bench(model, processor, Bundled(), asked, 3).calibration(None, 0)
    assert [len(batch["input_ids"]) for batch in samples.batches] == [1, 1, 1]


@pytest.mark.parametrize(("given", "pinned"), [({"benchmark": "POPE"}, ["llava"]), ({"groups": 1}, [])])
def test_pixels_are_pinned_for_benchmarks_alone(given, pinned, data, tmp_path, monkeypatch):
    kinds = []
    monkeypatch.setattr("atv.ablation.grid.bound_pixels", lambda processor, kind, **_: kinds.append(kind))
    place = {"data": data} if "benchmark" in given else {}
    Grid.prepared(GridSettings(**given, **place, samples=1, results=tmp_path))
    assert kinds == pinned
