import pytest
from helpers.fake_results import Flat, write


def test_writes_both_files_and_says_what_it_left_out(atv_command, tmp_path):
    results = tmp_path / "results"
    write(results, Flat())
    (results / "notes").mkdir()
    code, out, _ = atv_command("report", "--results", results, "--output", results / "report")
    assert code == 0 and "ablations: 1; findings: 1 reproduced, 1 not reproduced, 1 practically equal, 1" in out
    assert f"skipped: {results / 'notes'}: no run.json" in out
    first = {file.name: file.read_bytes() for file in (results / "report").iterdir()}
    assert first.keys() == {"forest.png", "report.html", "report.md"}
    atv_command("report", "--results", results, "--output", results / "report")
    assert {file.name: file.read_bytes() for file in (results / "report").iterdir()} == first


@pytest.mark.parametrize(("made", "message"), [(False, "no folder"), (True, "no ablation's results in")])
def test_without_results_nothing_is_written(atv_command, tmp_path, made, message):
    results = tmp_path / "results"
    if made:
        results.mkdir()
    code, _, err = atv_command("report", "--results", results, "--output", tmp_path / "report")
    assert code == 2 and err.count("\n") == 1 and f"atv: error: results: {message}" in err
    assert not (tmp_path / "report").exists()
