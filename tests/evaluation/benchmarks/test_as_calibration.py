import json

import pytest

from atv.api import BenchmarkAnswers, BenchmarkQuestions
from atv.bundled.architecture import build_processor
from atv.data import Mixture, TextAlone
from atv.data.conversations import messages
from atv.data.sources import load_calibration, load_evaluation
from atv.evaluation.benchmarks.as_calibration import refuse_calibrated_on, refuse_overlap
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.evaluation.questions import question_batches

NINE = ("OKVQA", "VizWiz", "TextVQA", "GQA", "POPE", "ScienceQA", "MMBench", "MME", "MMMU")


@pytest.mark.parametrize("name", NINE)
def test_a_question_is_calibrated_on_as_it_is_asked(name, data):
    loaded = load_benchmark(name, data)
    source = load_calibration(BenchmarkQuestions(name, data=data, overlap=True))
    assert len(source) == len(loaded.questions)
    for index, batch in enumerate(loaded.batches(build_processor(), 1)[:3]):
        (each,) = batch.entries
        place = [own.question["question_id"] for own in loaded.questions].index(each.question["question_id"])
        conversation = source.read(place)
        assert conversation.id == each.question["question_id"], index
        chat = messages(conversation.turns, len(conversation.pictures))
        said = " ".join(part["text"] for part in chat[0]["content"] if part["type"] == "text")
        asked = each.question["question"]
        for number in range(1, 8):
            asked = asked.replace(f"<image {number}>", " ")
        assert said.split() == asked.split() and len(conversation.turns) == 1
        assert sum(part["type"] == "image" for part in chat[0]["content"]) == len(conversation.pictures) >= 1


def test_answers_follow_and_of_ten_the_most_frequent(data):
    answered = BenchmarkAnswers("OKVQA", data=data, overlap=True)
    assert answered.read(0).turns[1] == {"role": "assistant", "text": "red"}  # six of ten
    assert BenchmarkAnswers("MMBench", data=data, overlap=True).read(0).turns[1]["text"] in "ABCD"


def test_the_split_that_an_evaluation_asks_is_refused_unless_said_so(data):
    with pytest.raises(
        ValueError, match=r"calibration.split: 'dev' of MMBench is what an evaluation asks; choose another"
    ):
        load_calibration(BenchmarkQuestions("MMBench", data=data))
    with pytest.raises(ValueError, match=r"calibration.split: 'test' of bundled is what an evaluation asks"):
        load_calibration(Mixture([TextAlone(BenchmarkAnswers("bundled", split="test"))]))
    assert load_calibration(BenchmarkQuestions("MMBench", data=data, overlap=True)).record()["overlap"] is True


def test_rows_that_are_asked_are_refused_whatever_they_are_called(tmp_path):
    rows = load_evaluation("bundled", "dev", 2)
    renamed = rows.map(lambda row: {"question_id": f"x{row['question_id']}"})
    renamed.save_to_disk(tmp_path / "renamed")
    asked = [question for batch in question_batches(build_processor(), rows) for question in batch.questions]
    source = BenchmarkQuestions(str(tmp_path / "renamed"), groups=1)
    with pytest.raises(
        ValueError, match=r"calibration: 13 of the 13 questions of .*renamed are also asked in the evaluation"
    ):
        refuse_overlap(Mixture([TextAlone(source)]), asked)
    refuse_overlap(BenchmarkQuestions(str(tmp_path / "renamed"), overlap=True), asked)
    others = load_evaluation("bundled", "test", 2)
    others.save_to_disk(tmp_path / "others")
    refuse_overlap(BenchmarkQuestions(str(tmp_path / "others")), asked)


def test_a_suite_gives_the_questions_of_the_tasks_that_are_named():
    source = load_calibration(BenchmarkQuestions("bundled", tasks=["presence", "reading"], groups=2))
    ids = [source.read(index).id for index in range(len(source))]
    assert {id.split("-")[1] for id in ids} == {"presence", "reading"} and all(id.startswith("dev-") for id in ids)
    assert len(source.read(0).pictures) == 1


def test_a_pruned_folder_is_not_asked_what_it_was_calibrated_on(tmp_path):
    source = TextAlone(BenchmarkAnswers("bundled", groups=1))
    record = {"schema": 1, "calibration": {"data": Mixture([source]).record()}}
    (tmp_path / "report.json").write_text(json.dumps(record))
    refuse_calibrated_on(tmp_path, "bundled", "test")
    refuse_calibrated_on(tmp_path / "nowhere", "bundled", "dev")
    message = r"split: .* was calibrated on questions of bundled, dev; choose another split"
    with pytest.raises(ValueError, match=message):
        refuse_calibrated_on(tmp_path, "bundled", "dev")
    (tmp_path / "report.json").write_text(json.dumps(record | {"calibration": None}))
    refuse_calibrated_on(tmp_path, "bundled", "dev")
    source.source.overlap = True
    (tmp_path / "report.json").write_text(json.dumps(record | {"calibration": {"data": source.record()}}))
    refuse_calibrated_on(tmp_path, "bundled", "dev")


@pytest.mark.parametrize(("file", "part"), [("quantization.json", "calibration"), ("report.json", "finetuning")])
def test_nor_what_it_was_quantized_or_trained_with(file, part, tmp_path):
    (tmp_path / file).write_text(json.dumps({"schema": 1, part: {"data": BenchmarkAnswers("bundled").record()}}))
    refuse_calibrated_on(tmp_path, "bundled", "test")
    with pytest.raises(ValueError, match="was calibrated on questions of bundled, dev"):
        refuse_calibrated_on(tmp_path, "bundled", "dev")


def test_a_saved_suite_has_no_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = {"schema": 1, "calibration": {"data": BenchmarkQuestions("suite").record()}}
    (tmp_path / "report.json").write_text(json.dumps(record))
    refuse_calibrated_on(tmp_path, "other", "dev")
    for named in ("suite", str(tmp_path / "suite")):
        with pytest.raises(ValueError, match=r"^evaluation: .* was calibrated on questions of .*suite; choose another"):
            refuse_calibrated_on(tmp_path, named, "test")


def test_a_folder_of_a_benchmarks_name_holds_its_data(data, monkeypatch):
    monkeypatch.chdir(data)
    assert len(load_calibration(BenchmarkQuestions("POPE", data=".", overlap=True))) == 6


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BenchmarkQuestions("bundled", data="folder"), "calibration.data: 'bundled' is a suite, which does not take"),
        (BenchmarkQuestions("POPE", tasks=["x"]), "calibration.tasks: 'POPE' is a benchmark, which does not take"),
        (
            BenchmarkQuestions("bundled", tasks=["cooking"], groups=1),
            "calibration.tasks: unknown cooking. Choices: know",
        ),
        (BenchmarkQuestions("POP"), "calibration.benchmark: unknown Benchmark 'POP'; did you mean 'POPE'"),
    ],
)
def test_what_does_not_fit_is_named(source, message):
    with pytest.raises(ValueError, match=message):
        load_calibration(source)
