"""What is told of the project outside of the code agrees with it."""

import re
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
