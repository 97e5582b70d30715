"""Files that earlier versions wrote are read; those of later ones are refused by name.

``earlier/`` holds what commit 8ae4bb2 wrote of a tiny model: a pruned folder's report and masks, and a finished cell.
"""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from atv.ablation.cell import Cell
from atv.ablation.store import FinishedCell
from atv.output.model_card import card
from atv.records.cell_record import CellRecord
from atv.records.evaluation_report import EvaluationReport
from atv.records.pruning_report import PruningReport

EARLIER = Path(__file__).with_name("earlier")
(CELL,) = (EARLIER / "cells").iterdir()


def test_a_report_says_what_its_json_says_and_is_written_alike(tmp_path):
    told, report = json.loads((EARLIER / "report.json").read_text()), PruningReport.read(EARLIER)
    assert report.base.kind == told["base"]["class"] == "LlavaForConditionalGeneration"
    assert report.blocks[1].mean_drift == told["blocks"][1]["mean_drift"] and len(report.targets) == 3
    assert report.as_dict() == told
    assert card(report) == (EARLIER / "README.md").read_text()
    report.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == told


def test_a_cell_is_read():
    cell = FinishedCell(Cell({"method": "ATV"}), CELL)
    told = json.loads((CELL / "cell.json").read_text())
    assert cell.record.inputs == told["inputs"] and cell.seconds == 3.5 and cell.record.schema == 2
    assert cell.record.made["git"] == told["git"] and cell.rows["credit"].tolist() == [1.0]
    # Cells said nothing of base model and hardware then.
    assert cell.report.base is None and cell.report.targets == {} and cell.report.sparsity == 0.5
    masks = PruningReport.read(EARLIER).masks
    assert all(torch.equal(mask, masks[name]) for name, mask in cell.masks().items()) and len(masks) == 3
    visual = [block.selected["both"]["visual"] for block in cell.report.blocks]
    assert cell.visual_tokens == sum(visual) / len(visual) / 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda told: told.update(schema=2),
            r"report.json has schema 2, but this version of atv reads up to 1; update atv",
        ),
        (lambda told: told.pop("blocks"), r"report.json has no blocks; `atv prune` writes them"),
        (lambda told: told["blocks"][0].pop("seconds"), r"report.json has no blocks.0.seconds"),
        (
            lambda told: told["blocks"][0].update(mean_drift="x"),
            "blocks.0.mean_drift is 'x': Input should",
        ),
        (
            lambda told: told.update(parameters=[[1]]),
            r"report.json: parameters is \[\[1\]\]: Input",
        ),
        (lambda told: told.update(blocks={"a": 1}), r"report.json: blocks is \{'a': 1\}: Input should be a valid list"),
        (lambda told: told.update(settings="x"), "report.json: settings is 'x'"),
        (lambda told: told["settings"].update(plans={}), r"report.json: settings.plans is \{\}: Dictionary should"),
        (
            lambda told: told["settings"]["plans"]["both"].pop("pattern"),
            "report.json has no settings.plans.both.pattern",
        ),
        (lambda told: told["blocks"][0]["tokens"].pop("text"), "report.json: blocks.0.tokens is .*it has no text"),
        (lambda told: told.update(parameters=True), "report.json: parameters is True: Input should be a valid integer"),
        (lambda told: told.update(parameters=-1), "report.json: parameters is -1: Input should be greater"),
        (lambda told: told["blocks"][0].update(seconds=math.nan), "blocks.0.seconds is nan: Input should be a finite"),
        (lambda told: told.update(base=[1]), r"report.json: base is \[1\]: Input should be a"),
        (lambda told: told.update(schema=-1), "report.json holds the fields of a different file: its schema is -1"),
        (lambda told: told["calibration"].update(counts=3), "report.json: calibration.counts is 3: Input should be a"),
    ],
)
def test_a_report_that_cannot_be_read_says_why(tmp_path, change, message):
    folder = shutil.copytree(EARLIER, tmp_path / "folder")
    told = json.loads((folder / "report.json").read_text())
    change(told)
    (folder / "report.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=message):
        PruningReport.read(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config", None),
        ("config", {"seed": [1]}),
        ("labels", [1]),
        ("seconds", {"prune": "long"}),
        ("seconds", {"prune": -1}),
        ("asked_with", {"max_new_tokens": None}),
        ("asked_from", {"data": ["POPE"]}),
    ],
)
def test_a_cell_of_other_values_is_named(tmp_path, field, value):
    told = json.loads((CELL / "cell.json").read_text()) | {field: value}
    (tmp_path / "cell.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=rf"cell.json: {field}.* is .*: Input should be"):
        CellRecord.read(tmp_path)


@pytest.mark.parametrize("read", [{"one": 3.0}, {"one": 3.0, "all": 0.0}])
def test_a_cell_that_read_nothing_whole_is_named(tmp_path, read):
    (tmp_path / "cell.json").write_text(json.dumps({"perplexity": read}))
    with pytest.raises(ValueError, match=r"cell.json: perplexity is .*expected numbers above 0, including 'all'"):
        CellRecord.read(tmp_path)


def test_scores_of_either_kind_are_read(tmp_path):
    suite = {"schema": 1, "tasks": {"reading": {"score": 0.5, "groups": 2, "questions": 4}}, "model": "bundled"}
    suite |= {"evaluation": "bundled", "split": "dev", "versions": {"atv": "0.1.0"}, "git": "g", "hardware": "h"}
    (tmp_path / "scores.json").write_text(json.dumps(suite))
    found = EvaluationReport.read(tmp_path / "scores.json")
    assert found.rows()["reading"].score == 50.0 and found.asked["split"] == "dev"
    found.write(tmp_path)
    assert (tmp_path / "scores.json").read_text() == json.dumps(suite | {"schema": 2}, indent=2) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": "2"}',
        '{"benchmarks": []}',
        '{"benchmarks": {"POPE": {}}}',
        '{"tasks": {"a": 1}}',
        '{"tasks": {"a": {"score": "x"}}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_file_of_scores_is_named(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"scores.json( is not valid JSON| holds|: tasks.a|: benchmarks| has no benchmarks.POPE.score)"
    ):
        EvaluationReport.read(tmp_path / "scores.json")
