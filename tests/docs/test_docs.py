"""What the docs show is run, as far as it can be here."""

import copy
import importlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest
import torch
from helpers.layouts import ANSWER, jpg, picture
from helpers.pages import PAGES, ROOT, blocks, classes, commands, load_classes, without_plugins

import atv
from atv.bundled import BUNDLED_MODEL
from atv.bundled.data import evaluation_set
from atv.calibration.calibration_set import numbered_batches
from atv.cli import main
from atv.model.lvlm import LVLM
from atv.plugins import find
from atv.quantization import Quantizer
from atv.quantization.blockwise import QuantizationPlan, quantize_blocks
from atv.quantization.method_contract import check_method
from atv.quantization.quantization_run import linears_of
from atv.quantization.whole_numbers import grids
from atv.records.digests import weights_digest
from atv.runtime.trainer import quiet_trainer

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
QUANTIZERS = [name for name, code in RULES.items() if "(Quantizer)" in code]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return load_classes(tmp_path_factory.mktemp("plugins"))


@pytest.mark.parametrize("name", [name for name in RULES if name not in QUANTIZERS])
def test_every_plug_in_of_the_docs_prunes(llava, batches, paths, name):
    base = re.search(r"class \w+\((\w+)\)", RULES[name])[1]
    plain = copy.deepcopy(llava)
    atv.prune(plain, batches)
    report = atv.prune(llava, batches, **{KIND_OF[base]: paths[name]})
    assert weights_digest(llava.named_parameters()) != weights_digest(plain.named_parameters()), "it makes a difference"
    assert report.sparsity == pytest.approx(0.5, abs=0.03)  # rows are rounded down
    assert len(RULES[name].splitlines()) < 15


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_of_the_docs_rounds(llava, batches, paths, name):
    lvlm, method = LVLM.of(llava), find(paths[name], Quantizer, "method")()
    linears = linears_of(lvlm, None)
    check_method(method, 4, 16, torch.float32)
    plan = QuantizationPlan(linears, {}, grids(linears, 4, 16), method, atv.AllTokens())
    made = quantize_blocks(lvlm, plan, numbered_batches(lvlm, batches), quiet_trainer(enable_progress_bar=False))
    assert len(made.errors) == 21 and max(made.errors.values()) < 0.05
    assert len(RULES[name].splitlines()) < 15


def test_the_data_source_of_the_docs_calibrates(tmp_path, paths):
    from atv.bundled.architecture import build_processor
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
    for room in ("data", "ablation", "inspection"):
        module = importlib.import_module(f"atv.{room}")
        told = [name for name in module.__all__ if isinstance(getattr(module, name), (type, FunctionType))]
        assert {f"atv.{room}.{name}" for name in told} <= set(names), room
    for name in names:
        module, _, attribute = name.rpartition(".")
        said = getattr(importlib.import_module(module), attribute).__doc__
        assert said, name
        # A word between bars is a substitution to Sphinx, unless it is a literal.
        assert not re.search(r"(?<![\w|])\|(?![\s|])[^|]+(?<![\s|])\|(?!\|)", re.sub(r"``.+?``", "", said)), name


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    # In a process of its own: autodoc puts defaults of its own type into the classes that it reads.
    built = ["-W", "--keep-going", "-q", ROOT / "docs", tmp_path]
    subprocess.run([sys.executable, "-m", "sphinx", *built], check=True)
    assert "--selection" in (tmp_path / "reference" / "commands.html").read_text()


# Fewer of everything.
LESS = {
    "prune": ["--samples", "4"],
    "inspect": ["--samples", "10"],
    "evaluate": ["--evaluation", "questions"],
    "finetune": ["--samples", "4", "--batch_size", "4"],
    "quantize": ["--samples", "4"],
}
# What needs several devices, the hub or a benchmark's data is run by the tests of those.
NOT_HERE = ("--trainer.", "--benchmark", "lmms-lab/", "--print-lmms-eval", "--plugin captions.py", "vllm.jsonl")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions") / "questions"
    evaluation_set("dev", 1).save_to_disk(folder)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, questions):
    monkeypatch.chdir(tmp_path)
    for model in ("llava-next-8b", "llava-next-72b"):
        Path(model).symlink_to(BUNDLED_MODEL)
    Path("questions").symlink_to(questions)
    Path("my_pictures").mkdir()
    for number in range(8):
        picture(number).save(f"my_pictures/{number}.png")
        Path(f"my_pictures/{number}.txt").write_text(ANSWER)
    return tmp_path


def run(command, paths):
    """Runs a command on less than it says; a folder that an earlier one left is written anew."""
    if command[0] == "prune":
        shutil.rmtree(command[command.index("--output") + 1], ignore_errors=True)
    if command[0] == "evaluate" and "--groups" in command:
        command[command.index("--groups") + 1] = "1"
    assert main([*without_plugins(command, paths), *LESS.get(command[0], [])]) == 0, command


@pytest.mark.parametrize(
    "page",
    [
        "first-steps",
        pytest.param("large-runs", marks=pytest.mark.slow),
        pytest.param("README", marks=pytest.mark.slow),
        pytest.param("extending", marks=pytest.mark.slow),
        pytest.param("outputs", marks=pytest.mark.slow),
        pytest.param("prune", marks=pytest.mark.slow),
        pytest.param("quantization", marks=pytest.mark.slow),
        pytest.param("compare", marks=pytest.mark.slow),
    ],
)
def test_commands_of_a_page_run_in_order(page, place, paths):
    for code in blocks(page, "yaml"):
        Path("run.yaml").write_text(code)
    if page == "outputs":
        run(["prune", "--model", "llava-next-8b", "--output", "out/sparse"], paths)
    here = [command for command in commands(page) if not any(word in " ".join(command) for word in NOT_HERE)]
    assert here
    for command in here:
        run(command, paths)


def test_python_of_the_pages_runs(place, paths):
    names = {}
    for code in blocks("prune"):
        exec(code.replace("samples=128", "samples=4"), names)
    assert names["report"].pathways["visual"].sparsity == pytest.approx(0.6, abs=0.01)
    assert {"masks.safetensors", "model.safetensors", "processor_config.json"} <= set(os.listdir("out/mine"))
    run(["prune", "--output", "out/sparse"], paths)
    for page in ("first-steps", "read-report"):
        for code in blocks(page):
            exec(code, names)
    assert (names["weight"] == 0).float().mean() == pytest.approx(0.5)
