"""Commands of the docs are run, page by page, on few samples and questions; the bundled model stands for others."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.layouts import ANSWER, picture
from helpers.pages import blocks, commands, load_classes, without_plugins

from atv.bundled import BUNDLED_MODEL
from atv.bundled.data import evaluation_set
from atv.cli import main

# Fewer of everything.
LESS = {
    "prune": ["--samples", "4"],
    "inspect": ["--samples", "10"],
    "evaluate": ["--evaluation", "questions"],
    "finetune": ["--samples", "4"],
    "quantize": ["--samples", "4"],
}
# What needs several devices, the hub or a benchmark's data is run by the tests of those.
NOT_HERE = ("--trainer.", "--benchmark", "lmms-lab/", "--print-lmms-eval", "--plugin captions.py", "vllm.jsonl")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return load_classes(tmp_path_factory.mktemp("plugins"))


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
