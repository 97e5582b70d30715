"""The wheel works away from the checkout."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout stays clean."""
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
    # Type checkers of other projects then read the annotations.
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
