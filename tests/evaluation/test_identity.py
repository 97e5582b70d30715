"""Answers are kept for what moves them, all of it, and for nothing that does not."""

import copy
import json

import pandas as pd
import pytest
from datasets import Dataset, List
from datasets import Image as Picture
from PIL import Image
from tokenizers import AddedToken

from atv.bundled import BUNDLED_MODEL
from atv.evaluation.benchmark_run import ask_benchmark
from atv.evaluation.benchmarks.asked import question_rows
from atv.evaluation.benchmarks.loaded import DenseAnswers, LoadedBenchmark, check_asked_alike, load_benchmark
from atv.evaluation.benchmarks.row_pictures import picture_digest, question_digests
from atv.evaluation.identity import answer_settings, asked_with, prompt_settings
from atv.evaluation.picture_bounds import PIXEL_BOUNDS
from atv.evaluation.question_sets import Benchmarks, EvaluationSettings
from atv.model.loading import load_processor
from atv.records.evaluation_report import EvaluationReport, TaskRow
from atv.runtime.trainer import quiet_trainer


@pytest.fixture
def processor():
    """A fresh one, to be changed."""
    return load_processor(BUNDLED_MODEL)


def template(processor):
    processor.chat_template += " "


def normalisation(processor):
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]


def size(processor):
    processor.image_processor.size = {"height": 12, "width": 12}


def rescaling(processor):
    processor.image_processor.do_rescale = not processor.image_processor.do_rescale


def a_new_token(processor):
    processor.tokenizer.add_tokens([AddedToken("<new>")])


def patches(processor):
    processor.patch_size = 99


OF_PROCESSOR = {
    template: ["chat template"],
    normalisation: ["pictures"],
    size: ["pictures"],
    rescaling: ["pictures"],
    a_new_token: ["tokenizer"],
    patches: ["processor"],
}


@pytest.mark.parametrize("change", OF_PROCESSOR, ids=lambda change: change.__name__)
def test_whatever_of_a_processor_moves_answers_is_in_the_identity(change, processor):
    before = copy.deepcopy(prompt_settings(processor))
    change(processor)
    after = prompt_settings(processor)
    assert [name for name in before if before[name] != after[name]] == OF_PROCESSOR[change]


OF_MODEL = {
    "generation config": [
        lambda model: setattr(model.generation_config, "repetition_penalty", 1.3),
        lambda model: setattr(model.generation_config, "suppress_tokens", [5]),
        lambda model: setattr(model.generation_config, "eos_token_id", [7]),
        lambda model: setattr(model.generation_config, "no_repeat_ngram_size", 2),
    ],
    "config": [
        lambda model: setattr(model.config.text_config, "rms_norm_eps", 0.1),
        lambda model: setattr(model.config, "vision_feature_layer", 0),
    ],
}


@pytest.mark.parametrize(("part", "change"), [(part, change) for part, all in OF_MODEL.items() for change in all])
def test_whatever_of_a_config_moves_answers_is_in_the_identity(part, change, bundled):
    model, processor = bundled
    before = copy.deepcopy(answer_settings(model, processor))
    own = copy.deepcopy((model.config, model.generation_config))
    try:
        change(model)
        after = answer_settings(model, processor)
    finally:
        model.config, model.generation_config = own
    assert [name for name in before if before[name] != after[name]] == [part]


def test_what_moves_nothing_is_not_in_the_identity(bundled):
    model, processor = bundled
    before = json.dumps(answer_settings(model, processor), default=str)
    processor.tokenizer.padding_side = "right" if processor.tokenizer.padding_side == "left" else "left"
    processor.tokenizer(["a", "a b"], padding=True)
    own = copy.deepcopy(model.generation_config)
    model.generation_config.temperature, model.generation_config.max_length = 0.3, 77
    model.name_or_path = "elsewhere"
    try:
        assert json.dumps(answer_settings(model, processor), default=str) == before
    finally:
        model.generation_config = own


def pictures(*shades):
    return Dataset.from_dict(
        {"image": [Image.new("RGB", (4, 4), (shade,) * 3) for shade in shades], "id": [0] * len(shades)}
    )


def test_a_question_is_known_by_its_text_and_its_pictures():
    def digests(*asked):
        return [each["seen"] for each in question_digests(*asked)]

    first = digests(pictures(1, 2), [0, 1], ["a", "a"])
    assert len(set(first)) == 2
    assert digests(pictures(1, 2), [1, 0], ["a", "a"]) == first[::-1]
    assert digests(pictures(1, 3), [0, 1], ["a", "a"])[0] == first[0]
    assert digests(pictures(1, 3), [0, 1], ["a", "a"])[1] != first[1]
    assert digests(pictures(1, 2), [0, 1], ["a", "b"])[1] != first[1]


def test_a_picture_is_known_apart_from_the_text():
    one, other = question_digests(pictures(1, 1), [0, 1], ["a", "b"])
    assert one["picture"] == other["picture"] != "" and one["seen"] != other["seen"]


def test_pictures_in_a_list_count_by_their_bytes():
    listed = pictures(1, 2).remove_columns("id").map(lambda row: {"image": [row["image"]]})
    listed = listed.cast_column("image", List(Picture()))
    as_bytes = listed.cast_column("image", List(Picture(decode=False)))
    assert question_digests(listed, [0, 1], "ab", ["image"]) == question_digests(as_bytes, [0, 1], "ab", ["image"])


def test_a_picture_counts_by_its_bytes_wherever_they_lie(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    same = [b"picture", {"bytes": b"picture", "path": "x.png"}, {"bytes": None, "path": str(tmp_path / "a.png")}]
    assert len({picture_digest(cell) for cell in [*same, str(tmp_path / "a.png")]}) == 1
    others = [
        None,
        b"other",
        "base64" * 1000,
        "\0",
        [b"picture"],
        {"bytes": None, "path": None},
        {"bytes": None, "path": "x"},
    ]
    assert picture_digest(b"picture") not in {picture_digest(cell) for cell in others}


@pytest.mark.parametrize("as_cell", [str, lambda path: {"bytes": None, "path": path}], ids=["path", "struct"])
def test_a_picture_is_found_beside_the_data_as_when_it_is_asked(as_cell, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"picture")
    assert picture_digest(as_cell("a.png"), tmp_path) == picture_digest(as_cell(str(tmp_path / "a.png")), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert picture_digest(as_cell("a.png"), tmp_path / "elsewhere") != picture_digest(as_cell("a.png"))


def test_a_question_is_another_when_the_file_of_its_picture_changed(tmp_path):
    row = {"id": "1", "question_id": "1", "question": "Is it ?", "answer": "yes", "image_source": "a"}
    Dataset.from_list([row | {"category": "random", "image": "a.png"}]).to_parquet(tmp_path / "test-0.parquet")

    def seen_now(shade):
        Image.new("RGB", (4, 4), (shade,) * 3).save(tmp_path / "a.png")
        return load_benchmark("POPE", tmp_path).questions[0].question["seen"]

    first = seen_now(1)
    assert seen_now(2) != first == seen_now(1)


@pytest.mark.parametrize("what", ["text", "picture"])
def test_answers_to_other_questions_of_the_same_ids_are_refused(what, bundled, data, tmp_path):
    loaded = load_benchmark("POPE", data, 2)
    options = {"max_new_tokens": 1, "trainer": quiet_trainer(enable_progress_bar=False), "folder": tmp_path / "out"}
    ask_benchmark(loaded, *bundled, **options)
    ask_benchmark(loaded, *bundled, **options)

    def other(row):
        changed = {"question": f"Really, {row['question']}"}
        return changed if what == "text" else {"image": Image.new("RGB", (30, 30), (9, 9, 9))}

    rows = loaded.rows.map(other, features=loaded.rows.features)
    changed = LoadedBenchmark(loaded.benchmark, rows, question_rows(loaded.benchmark, rows, 2), loaded.revision)
    message = r"holds answers to different questions: .* now has a different text or picture"
    with pytest.raises(ValueError, match=message):
        ask_benchmark(changed, *bundled, **options)
    assert changed.provenance()["digest"] != loaded.provenance()["digest"]


def report(name, digest="a", average=50.0):
    kept = {"value": average, "low": 1.0, "high": 99.0}
    row = {"score": 1.0, "of": 3, "version": "1"}
    return EvaluationReport({"model": "m", "model_digest": digest}, {}, {name: row}, {name: kept, "average": kept})


def test_a_second_benchmark_lies_beside_the_first(tmp_path):
    report("POPE").write(tmp_path)
    assert set(EvaluationReport.read(tmp_path / "scores.json").retention) == {"POPE", "average"}
    EvaluationReport.check_folder(tmp_path, "a", ["MME"])
    report("MME").write(tmp_path)
    found = EvaluationReport.read(tmp_path / "scores.json")
    # An average of one of two benchmarks would be taken for that of both.
    assert set(found.benchmarks) == set(found.retention) == {"POPE", "MME"}
    report("POPE", average=7.0).write(tmp_path)
    assert EvaluationReport.read(tmp_path / "scores.json").retention["POPE"]["value"] == 7.0


def test_scores_of_another_model_are_not_mixed(tmp_path):
    EvaluationReport.check_folder(tmp_path, "b", ["POPE"])
    report("POPE").write(tmp_path)
    for again in (["POPE"], ["MME"], None):
        with pytest.raises(ValueError, match=r"^output: .* holds scores of another model \('m'\)"):
            EvaluationReport.check_folder(tmp_path, "b", again)
    EvaluationReport.check_folder(tmp_path, "a", None)
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        EvaluationReport.check_folder(tmp_path, "a", ["POPE"])


def test_another_models_answers_to_the_suite_are_not_written_over(tmp_path):
    EvaluationReport({"model": "m", "model_digest": "a"}, {"presence": TaskRow(0.5, 2, 4)}).write(tmp_path)
    EvaluationReport.check_folder(tmp_path, "a", None)
    with pytest.raises(ValueError, match=r"^output: .* holds scores of another model \('m'\)"):
        EvaluationReport.check_folder(tmp_path, "b", None)


def test_another_suites_scores_replace_the_first(tmp_path):
    """As its answers do; benchmarks stay beside them, and leave them where they are."""
    for task in ("presence", "own"):
        EvaluationReport({"split": "test"}, {task: TaskRow(0.5, 2, 4)}).write(tmp_path)
        report("POPE").write(tmp_path)
        found = EvaluationReport.read(tmp_path / "scores.json")
        assert (list(found.tasks), list(found.benchmarks)) == ([task], ["POPE"])


def test_models_that_were_asked_in_another_way_are_not_compared(processor):
    here = {"max_new_tokens": 16, **prompt_settings(processor)}
    there = DenseAnswers(pd.DataFrame(), json.loads(json.dumps(here)))
    check_asked_alike({"POPE": there}, {"POPE": here})
    normalisation(processor)
    for change, message in (
        ({"max_new_tokens": 8}, "max_new_tokens is 16 there and 8 here"),
        (prompt_settings(processor), r"pictures.image_processor.image_mean is \[.*\] there and \[0.1, 0.2, 0.3\] here"),
    ):
        with pytest.raises(ValueError, match=f"^dense: POPE was asked in another way: {message}"):
            check_asked_alike({"POPE": there}, {"POPE": here | change})


def test_a_precision_that_casts_the_model_leaves_its_digest_and_is_recorded(bundled, data, tmp_path):
    model, processor = bundled
    how = EvaluationSettings(
        None, 1, None, None, quiet_trainer(enable_progress_bar=False, precision="bf16-true"), tmp_path
    )
    names = ("POPE", "VizWiz")
    report = Benchmarks([load_benchmark(name, data, 1) for name in names]).ask(copy.deepcopy(model), processor, how)
    runs = [json.loads((tmp_path / name / "run.json").read_text())["identity"] for name in names]
    assert {run["model"] for run in runs} == {report.asked["model_digest"]}
    here = asked_with(model, processor, 1, quiet_trainer())
    there = {"POPE": DenseAnswers(pd.DataFrame(), report.benchmarks["POPE"]["asked_with"])}
    with pytest.raises(ValueError, match="POPE was asked in another way: precision is 'bf16-true' there and None here"):
        check_asked_alike(there, {"POPE": here})


def test_pinned_pixels_are_left_in_no_ones_processor(bundled, processor, monkeypatch):
    monkeypatch.setitem(PIXEL_BOUNDS, "llava", (12, 24))
    before = copy.deepcopy(prompt_settings(processor))
    how = EvaluationSettings(None, None, None, None, quiet_trainer(), None)
    assert Benchmarks([]).ask(bundled[0], processor, how).asked["pixels"] == {"min_pixels": 12, "max_pixels": 24}
    assert prompt_settings(processor) == before


def test_a_dense_score_of_zero_loses_no_answer():
    rows = pd.DataFrame({"task": "POPE", "metric": "ExactMatch", "credit": [0.0, 0.0], "group": ["a", "b"]})
    asked_before = {"POPE": DenseAnswers(rows.assign(category=""), {})}
    with pytest.warns(UserWarning, match="the dense model scores 0 on every benchmark"):
        assert Benchmarks([], dense=asked_before)._retention({}) == {}
