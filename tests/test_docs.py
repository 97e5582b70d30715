"""What the docs show is run."""

import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from layouts import ANSWER, jpg

ROOT = Path(__file__).parents[1]
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", EXTENDING, re.S) + [
    block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "class " in block
]


KIND_OF = {
    "TokenSelection": "selection",
    "VisualRanking": "selection",
    "Criterion": "criterion",
    "Pattern": "pattern",
    "Allocation": "allocation",
}


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: re.search(r"class (\w+)", code)[1])
def test_every_plug_in_of_the_docs_prunes(llava, batches, tmp_path, code):
    import atv
    from atv.plugins import load_file

    name, base = re.search(r"class (\w+)\((\w+)\)", code).groups()
    (tmp_path / f"{name}.py").write_text(code)
    load_file(tmp_path / f"{name}.py")
    report = atv.prune(llava, batches, **{KIND_OF[base]: name})
    assert report.sparsity == pytest.approx(0.5, abs=0.03)  # rows are rounded down
    assert len(code.splitlines()) < 15


def test_the_data_source_of_the_docs_calibrates(tmp_path):
    from atv.bundled.vocabulary import build_processor
    from atv.data import CalibrationData
    from atv.data.calibration import calibration_batches
    from atv.plugins import find, load_file

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.S)
    (tmp_path / "captions.py").write_text(code)
    load_file(tmp_path / "captions.py")
    with sqlite3.connect(tmp_path / "captions.db") as table:
        table.execute("CREATE TABLE pictures (id, jpeg, caption)")
        table.executemany("INSERT INTO pictures VALUES (?, ?, ?)", [(n, jpg(n), ANSWER) for n in range(3)])
    data = find("Captions", CalibrationData, "calibration")(str(tmp_path / "captions.db"))
    batches = calibration_batches(build_processor(), data, 2)
    assert len(batches[0]["input_ids"]) == 2 and set(batches.record["ids"]) < {"0", "1", "2"}
    assert batches.record["data"] == {"class": "Captions", "file": str(tmp_path / "captions.db")}


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_of_the_docs_parse(tmp_path):
    from atv.cli import parser
    from atv.plugins import load_file

    rule = tmp_path / "my_rule.py"
    rule.write_text(next(block for block in BLOCKS if "EveryOther" in block).replace("EveryOther", "ReadmeRule"))
    load_file(rule)
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text().replace("\\\n", " ") for page in pages)
    lines = re.findall(r"^(?:srun \S+ |torchrun .* )?(?:\.venv/bin/atv|-m atv\.cli) +(.*?)(?:\s+#.*)?$", text, re.M)
    assert len(lines) >= 8 and any("num_nodes" in line for line in lines)
    for line in lines:
        parser().parse_args(shlex.split(line.replace("EveryOther", "ReadmeRule").replace("my_rule.py", str(rule))))
