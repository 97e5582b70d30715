import json

import pytest
from helpers.fake_results import Flat, write
from scipy.stats import t

from atv.ablation.findings import Finding
from atv.reporting.collection import Collection
from atv.reporting.pages import page
from atv.statistics.estimates import Estimate, Spread


class Later(Flat):
    """Of the paper's appendix."""

    name, paper = "a_later_one", "Table A5"


def test_what_repeats_the_paper_comes_first_in_its_order(results, tmp_path):
    write(results, Later())
    found = Collection.read(results, tmp_path)
    assert [section.name for section in found.sections] == ["flat", "a_later_one", "quiet"]


def test_counts_verdicts_and_shared_cells_once(results, tmp_path):
    found = Collection.read(results, tmp_path)
    assert found.verdicts == {"reproduced": 1, "not reproduced": 1, "practically equal": 1, "undecided": 1}
    assert len(found.seconds) == 3 and sum(found.seconds.values()) == 6


class Measured(Flat):
    """Differences with their spread."""

    name, paper = "measured", "Table 2"

    def findings(self, results):
        spread = Spread(80, 3, 1.0, 700.0, 0.0, 0.0)
        return [Finding(f"{value} is above 0.", "", Estimate.of(value, spread), "") for value in (0.5, 2.0, 4.0, 6.0)]


def test_verdicts_are_corrected_for_all_findings_of_the_report(results, tmp_path):
    assert not Collection.read(results, tmp_path).corrected  # made-up bounds without a spread
    write(results, Measured())
    found = Collection.read(results, tmp_path)
    p = [2 * t.sf(value, 700) for value in (0.5, 2.0, 4.0, 6.0)]
    # By hand: sorted from the greatest, p times 4 over its rank, never more than the next greater one's.
    assert list(found.corrected.values()) == pytest.approx([p[0], p[1] * 4 / 3, p[2] * 2, p[3] * 4], rel=1e-6)
    assert [finding.verdict for finding in found.corrected] == ["undecided", "holds", "holds", "holds"]
    assert list(found.standing.values()) == [False, True, True]
    text = page(found, tmp_path, "md")
    assert "one report of 4 findings" in text and "2 of 3 decided verdicts stand" in text
    assert "Corrected p: 0.061." in text and "Corrected p: <0.001." in text
    html = page(found, tmp_path, "html")
    assert "2 of 3 decided verdicts stand" in html and "corrected p 0.061" in html


def test_other_folders_are_named_and_the_cells_and_the_report_are_not(results):
    (results / "notes").mkdir()
    (results / "report").mkdir()
    (results / "quiet" / "run.json").write_text(json.dumps({"name": "quiet"}))
    found = Collection.read(results, results / "report")
    assert found.skipped.keys() == {"notes", "quiet"} and "run.json has no question" in found.skipped["quiet"]
    assert found.skipped["notes"] == "no run.json, findings.json, table.csv"


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"results: no folder '.*nowhere'"):
        Collection.read(tmp_path / "nowhere", tmp_path)
    (tmp_path / "half").mkdir()
    with pytest.raises(ValueError, match=r"results: no ablation's results in .*\(half: no run.json"):
        Collection.read(tmp_path, tmp_path / "report")
