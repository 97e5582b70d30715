import json

import pytest
from helpers.fake_results import Flat, write

from atv.reporting.collection import Collection


class Later(Flat):
    """Of the paper's appendix."""

    name, paper = "a_later_one", "Table A5"


def test_what_repeats_the_paper_comes_first_in_its_order(results, tmp_path):
    write(results, Later())
    found = Collection.read(results, tmp_path)
    assert [section.name for section in found.sections] == ["flat", "a_later_one", "quiet"]


def test_counts_verdicts_and_shared_cells_once(results, tmp_path):
    found = Collection.read(results, tmp_path)
    assert found.verdicts == {"reproduced": 1, "not reproduced": 1, "undecided": 1}
    assert len(found.seconds) == 3 and sum(found.seconds.values()) == 6


def test_other_folders_are_named_and_the_cells_and_the_report_are_not(results):
    (results / "notes").mkdir()
    (results / "report").mkdir()
    (results / "quiet" / "run.json").write_text(json.dumps({"name": "quiet"}))
    found = Collection.read(results, results / "report")
    assert found.skipped.keys() == {"notes", "quiet"} and "run.json lacks question" in found.skipped["quiet"]
    assert found.skipped["notes"] == "no run.json, findings.json, table.csv"


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"results: no folder '.*nowhere'"):
        Collection.read(tmp_path / "nowhere", tmp_path)
    (tmp_path / "half").mkdir()
    with pytest.raises(ValueError, match=r"results: no ablation's results in .*\(half: no run.json"):
        Collection.read(tmp_path, tmp_path / "report")
