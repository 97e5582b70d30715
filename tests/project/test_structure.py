"""Rooms: a room imports only from its own layer and lower ones, and its docstring says what belongs there."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ATV = Path(__file__).parents[2] / "atv"
LAYERS = [
    {"plugins", "records", "runtime", "statistics"},
    {"data", "bundled", "everyday"},
    {"model"},
    {"figures", "selection", "criteria", "patterns", "allocation", "refinement"},
    {"calibration", "pathways"},
    {"evaluation", "finetuning", "output", "quantization"},
    {"verification"},
    {"comparison", "publishing"},
    {"api"},
    {"ablation", "inspection"},
    {"reporting", "tracking"},
    {"commands"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = [file for file in sorted(ATV.rglob("*.py")) if file != ATV / "__init__.py"]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if names == ["atv"]:
            names = [f"atv.{alias.name}" for alias in node.names]
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if name.split(".")[0] in ("atv", "ablations", "experiments", "tests"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ATV)))
def test_imports_never_run_upwards(file):
    own = file.relative_to(ATV).parts[0].removesuffix(".py")
    for name in imported(file):
        parts = name.split(".")
        assert parts[0] == "atv", f"{file} imports {name}"
        # Only commands import the public face: from below it, such imports would hide which room they need.
        assert len(parts) > 1 or own == "commands", f"{file} imports {name}"
        if len(parts) > 1 and parts[1] != own:
            assert LEVEL[parts[1]] <= LEVEL[own], f"{file} imports {name}"


def test_rooms_import_one_another_in_no_circle():
    arrows = {room: set() for room in LEVEL}
    for file in MODULES:
        own = file.relative_to(ATV).parts[0].removesuffix(".py")
        arrows[own] |= {name.split(".")[1] for name in imported(file) if "." in name} - {own}
    TopologicalSorter(arrows).prepare()


def test_the_root_holds_the_public_face_and_rooms_alone():
    assert {file.name for file in ATV.glob("*.py")} == {"__init__.py", "cli.py"}


@pytest.mark.parametrize("room", sorted(set(LEVEL) - {"cli"}))
def test_a_room_says_what_belongs_there_and_what_does_not(room):
    said = ast.get_docstring(ast.parse((ATV / room / "__init__.py").read_text()))
    assert said and len(said.split()) > 12, f"{room} says {said!r}"


def test_no_two_modules_share_a_name():
    # Files of base classes, and those that `python -m` runs.
    shared = {"__init__", "__main__", "base"}
    # The two models' worlds have the same layout: whoever knows the scenes and tasks of one finds those of the other.
    for world in ("bundled", "everyday"):
        files = [file for file in MODULES if file.relative_to(ATV).parts[0] != world]
        names = Counter(file.stem for file in files if file.stem not in shared)
        assert {name for name, count in names.items() if count > 1} == set()
