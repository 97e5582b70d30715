"""What the docs show is run, as far as it can be here."""

import importlib
import json
import re
import sqlite3

import pytest
from helpers.layouts import ANSWER, jpg
from helpers.pages import PAGES, ROOT, blocks, classes, commands, load_classes, without_plugins

import atv
from atv.plugins import find

KIND_OF = {
    "TokenSelection": "selection",
    "VisualRanking": "selection",
    "PartedSelection": "selection",
    "Criterion": "criterion",
    "Pattern": "pattern",
    "Allocation": "allocation",
    "Refinement": "refine",
    "Reconstruction": "reconstruct",
}
RULES = classes("README") | classes("extending")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return load_classes(tmp_path_factory.mktemp("plugins"))


@pytest.mark.parametrize("name", RULES)
def test_every_plug_in_of_the_docs_prunes(llava, batches, paths, name):
    base = re.search(r"class \w+\((\w+)\)", RULES[name])[1]
    report = atv.prune(llava, batches, **{KIND_OF[base]: paths[name]})
    assert report.sparsity == pytest.approx(0.5, abs=0.03)  # rows are rounded down
    assert len(RULES[name].splitlines()) < 15


def test_the_data_source_of_the_docs_calibrates(tmp_path, paths):
    from atv.bundled.vocabulary import build_processor
    from atv.data import CalibrationData
    from atv.data.calibration_batches import calibration_batches

    with sqlite3.connect(tmp_path / "captions.db") as table:
        table.execute("CREATE TABLE pictures (id, jpeg, caption)")
        table.executemany("INSERT INTO pictures VALUES (?, ?, ?)", [(n, jpg(n), ANSWER) for n in range(3)])
    data = find(paths["Captions"], CalibrationData, "calibration")(str(tmp_path / "captions.db"))
    batches = calibration_batches(build_processor(), data, 2)
    assert len(batches[0]["input_ids"]) == 2 and set(batches.record["ids"]) < {"0", "1", "2"}
    assert batches.record["data"] == {"class": "Captions", "file": str(tmp_path / "captions.db")}


def test_the_ablation_of_the_docs_comes_to_a_finding(tmp_path):
    from atv.bundled.data import calibration_pool, evaluation_set
    from atv.cli import main

    (code,) = blocks("ablations")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 25
    (tmp_path / "cost_of_groups.py").write_text(code)
    calibration_pool(4).save_to_disk(tmp_path / "pool")
    evaluation_set("dev", 1).save_to_disk(tmp_path / "questions")
    (command,) = (c for c in commands("ablations") if c[0] == "ablate")
    command[command.index("--file") + 1] = f"{tmp_path}/cost_of_groups.py"
    here = ["--calibration", "pool", "--evaluation", "questions", "--results", ""]
    here = [f"{tmp_path}/{word}" if not word.startswith("-") else word for word in here]
    assert main([*command, "--samples", "4", "--logger", "none", *here]) == 0
    (finding,) = json.loads((tmp_path / "cost_of_groups" / "findings.json").read_text())
    assert finding["count"].startswith("13 questions") and finding["claim"] == "Zeros anywhere keep more."


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_of_the_docs_parse(page, paths, tmp_path, monkeypatch):
    from atv.cli import parser

    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for number, code in enumerate(blocks(page, "yaml")):
        (tmp_path / "run.yaml").write_text(code)
        assert number == 0
    for command in commands(page):
        parser(command[0]).parse_args(without_plugins(command, paths))


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_table_of_contents():
    listed = "\n".join(re.findall(r"```\{toctree\}\n(.*?)```", PAGES["index"], re.S))
    entries = {line for line in listed.splitlines() if line and line[0] != ":" and "*" not in line}
    pages = set(PAGES) - {"README", "index"}
    pages |= {f"reference/{page.stem}" for page in (ROOT / "docs" / "reference").glob("*.md")}
    assert entries == pages


def test_every_public_name_is_in_the_reference():
    said = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    names = re.findall(r"auto(?:class|function):: ([\w.]+)", said)
    assert {f"atv.{name}" for name in atv.__all__} <= set(names) and len(names) == len(set(names))
    for name in names:
        module, _, attribute = name.rpartition(".")
        said = getattr(importlib.import_module(module), attribute).__doc__
        assert said, name
        # A word between bars is a substitution to Sphinx, unless it is a literal.
        assert not re.search(r"(?<![\w|])\|(?![\s|])[^|]+(?<![\s|])\|(?!\|)", re.sub(r"``.+?``", "", said)), name


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    from sphinx.cmd.build import main

    assert main(["-W", "--keep-going", "-q", str(ROOT / "docs"), str(tmp_path)]) == 0
    assert "--selection" in (tmp_path / "reference" / "commands.html").read_text()
