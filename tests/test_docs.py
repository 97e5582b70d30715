"""What the docs show is run."""

import re
from pathlib import Path

import pytest

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
        parser().parse_args(line.replace("EveryOther", "ReadmeRule").replace("my_rule.py", str(rule)).split())
