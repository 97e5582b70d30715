"""The record of an ablation says what table.md showed, for results of earlier versions too."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from atv.ablation.findings import Finding
from atv.ablation.record import AblationRecord
from atv.records.files import write_json
from atv.statistics.estimates import Estimate

PUBLISHED = sorted(file.parent for file in (Path(__file__).parents[2] / "docs" / "results").glob("*/run.json"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_results_are_read_from_their_data(folder):
    lines = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("|")]
    shown = AblationRecord.read(folder).shown.markdown().splitlines()
    # Rows that lack a label, as the dense model's IoU with itself, were left out of table.md before.
    assert shown[:2] == lines[:2] and [line for line in shown if "|  |" not in line] == lines
    assert len(shown) - len(lines) <= 1


@pytest.fixture
def record():
    run = {"name": "n", "question": "Is it so?", "paper": "", "about": "", "caption": "c", "file": "f", "seeds": [0]}
    cells = [{"id": "i", "labels": {}, "seed": 0, "seconds": 2.0}]
    run |= {"versions": {}, "git": "g", "hardware": "h", "cells": cells}
    table = pd.DataFrame({"rule": ["1.50", ""], "iou": [1 / 3, None], "seeds": [3, 4]})
    return AblationRecord(run, [Finding("So.", "1", Estimate(2.0, 1.0, 3.0), "points")], table)


def test_what_is_written_is_read_again(record, tmp_path):
    record.write(tmp_path)
    found = AblationRecord.read(tmp_path)
    assert found.findings == record.findings and found.seconds == {"i": 2.0} and found.run["schema"] == 2
    assert found.shown.markdown() in (tmp_path / "table.md").read_text()
    assert [[entry.plain for entry in row] for row in found.shown.rows] == [["1.50", "0.3333", "3"], ["", "", "4"]]


def test_files_of_a_later_version_are_refused_by_name(record, tmp_path):
    record.write(tmp_path)
    write_json(tmp_path / "run.json", dict(record.run) | {"schema": 3})
    with pytest.raises(ValueError, match=r"run.json is of schema 3, this version of atv reads up to 2: update atv"):
        AblationRecord.read(tmp_path)


def test_a_folder_without_its_table_says_so(record, tmp_path):
    record.write(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    (tmp_path / "half" / "table.csv").unlink()
    with pytest.raises(ValueError, match=r"^no table.csv$"):
        AblationRecord.read(tmp_path / "half")
