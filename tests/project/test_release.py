"""What the project says about itself outside of the code agrees with the code."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from project.test_structure import LEVEL

import atv

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == atv.__version__ and cited["license"] == "Apache-2.0"
    assert {"cff-version", "title", "message", "authors"} <= cited.keys()


def test_every_room_is_on_the_map_in_the_order_of_the_layers():
    rows = [line.split("|")[1] for line in CONTRIBUTING.splitlines() if line.startswith("| `")]
    named = [[LEVEL[room] for room in re.findall(r"`(\w+)`", row) if room in LEVEL] for row in rows]
    levels = [level for row in named for level in row]
    assert levels == sorted(levels) and len(levels) == len(LEVEL)


@pytest.mark.parametrize("target", re.findall(r"make ([a-z][a-z-]+)", CONTRIBUTING))
def test_targets_of_make_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", re.findall(r"`((?:tests|atv|docs|ablations)/[\w./-]+\.(?:py|md))`", CONTRIBUTING))
def test_files_that_are_named_exist(file):
    assert (ROOT / file).is_file()


def test_every_pinned_version_but_torchs_has_its_hashes():
    pinned = set((ROOT / "constraints.txt").read_text().splitlines())
    hashed = [line.split() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    left_out = {line for line in pinned if line.split("==")[0] in ("torch", "torchvision", "num2words", "docopt")}

    def plain(pins):
        return {pin.lower().replace("_", "-") for pin in pins}

    assert plain(pin for pin, *_ in hashed) == plain(pinned - left_out)
    assert all(
        hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", own) for own in hashes) for _, *hashes in hashed
    )


def test_hooks_before_a_commit_fetch_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    called = {hook["entry"].split()[0] for hook in hooks[0]["hooks"]}
    assert called == {".venv/bin/ruff", ".venv/bin/mypy"}


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    run("cp", "-r", ROOT / "atv", ROOT / "setup.cfg", ROOT / "setup.py", ROOT / "README.md", ROOT / "LICENSE", copy)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy)
    return next(folder.glob("*.whl"))


def prune_and_evaluate(python, folder, **options):
    run(python, "-m", "atv.cli", "prune", "--output", folder / "out", "--samples", 8, cwd=folder, **options)
    scored = ["evaluate", "--model", folder / "out", "--groups", 2]
    assert "average" in run(python, "-m", "atv.cli", *scored, cwd=folder, **options)


@pytest.mark.slow
def test_carries_the_bundled_model(wheel, tmp_path):
    assert wheel.stat().st_size < 19e6
    # With it, type checkers of other projects read the annotations.
    assert "atv/py.typed" in zipfile.ZipFile(wheel).namelist()
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel)
    alone = {"env": os.environ | {"PYTHONPATH": str(site)}}
    assert str(site) in run(sys.executable, "-c", "import atv; print(atv.__file__)", cwd=tmp_path, **alone)
    prune_and_evaluate(sys.executable, tmp_path, **alone)


@pytest.mark.slow
def test_installs_into_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pinned = ["-c", ROOT / "constraints.txt"]
    run(python, "-m", "pip", "install", "-q", "torch", *pinned)
    run(python, "-m", "pip", "install", "-q", wheel, *pinned)
    prune_and_evaluate(python, tmp_path)
