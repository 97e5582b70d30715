import json

import pytest

from atv.commands.models import TABLE


@pytest.fixture
def printed(atv_command, monkeypatch):
    """The cells of each line of a table, and the last line."""
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = atv_command("models")
    assert code == 0
    *lines, last = out.splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")], last


def test_prints_every_type_and_every_refusal(printed):
    cells, last = printed
    found = json.loads(TABLE.read_text())
    tested = {line[0]: line for line in cells if len(line) == 4}
    for kind, row in found["types"].items():
        assert tested[kind][1] == row["class"]
        assert tested[kind][2] == (f"all but {', '.join(row['failed'])}" if row["failed"] else "all")
    assert {line[0]: line[1] for line in cells if len(line) == 2} == found["refused"] | found["untried"]
    assert found["transformers"] in last


def test_says_what_is_particular_about_a_type(printed):
    notes = {line[0]: line[3] for line in printed[0] if len(line) == 4}
    assert "linear_attn.conv1d.weight" in notes["qwen3_5"] and "clips" in notes["qwen3_5"]
    assert "cross-attention" in notes["mllama"] and "row ends" in notes["llava_next"] and not notes["llava"]
