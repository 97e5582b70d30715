import json

import pytest
from helpers.pruned_folders import save_pruned


@pytest.fixture
def folder(llava, batches, tmp_path):
    save_pruned(llava, batches, tmp_path / "sparse")
    return tmp_path / "sparse"


def test_scores_and_retention_stand_in_card_and_report(atv_command, folder, tmp_path):
    kept = {"value": 97.5, "low": 96.0, "high": 99.0}
    rows = {"GQA": {"score": 61.25, "of": 80, "version": "1"}, "MME": {"score": 1500.5, "of": 40, "version": "2"}}
    (tmp_path / "scores.json").write_text(json.dumps({"benchmarks": rows, "retention": {"GQA": kept}}))
    before = (folder / "README.md").read_text()
    assert "## Scores" not in before
    assert atv_command("card", folder, "--scores", tmp_path / "scores.json")[0] == 0
    text = (folder / "README.md").read_text()
    assert "| GQA | 61.25 | 80 | 1 | 97.50 [96.00, 99.00] |\n| MME | 1500.50 | 40 | 2 |  |" in text
    assert json.loads((folder / "report.json").read_text())["scores"]["GQA"]["kept"] == kept
    assert atv_command("card", folder)[0] == 0 and (folder / "README.md").read_text() == text


def test_scores_of_the_bundled_suite(atv_command, folder, tmp_path):
    tasks = {"reading": {"score": 0.5, "groups": 2, "questions": 4}}
    (tmp_path / "scores.json").write_text(json.dumps({"tasks": tasks, "split": "dev"}))
    assert atv_command("card", folder, "--scores", tmp_path / "scores.json")[0] == 0
    assert "| reading | 50.00 | 4 | bundled, dev |  |" in (folder / "README.md").read_text()


def test_bad_input_is_one_line(atv_command, folder, tmp_path):
    assert "is not a pruned model" in atv_command("card", tmp_path)[2]
    assert "scores: no such file" in atv_command("card", folder, "--scores", tmp_path / "none.json")[2]
    (tmp_path / "scores.json").write_text("{}")
    assert "holds none" in atv_command("card", folder, "--scores", tmp_path / "scores.json")[2]
