"""Imports run one way: data flows from selection to commands, and nothing imports what stands above it."""

import ast
from pathlib import Path

import pytest

ATV = Path(__file__).parents[1] / "atv"
LAYERS = [
    {
        "provenance",
        "plugins",
        "trainer",
        "ranks",
        "fingerprint",
        "files",
        "targets",
        "anatomy",
        "visual_grid",
        "figures",
        "hub",
        "preemption",
    },
    {"masks"},
    {"lvlm", "experts", "selection", "criteria", "patterns", "allocation", "report"},
    {"run_folder", "offload"},
    {"calibration", "pathways"},
    {"api"},
    {"data", "bundled", "everyday"},
    {"evaluation", "finetuning", "loading", "inspection", "output"},
    {"ablation", "cost"},
    {"reporting", "tracking"},
    {"commands"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = [file for file in sorted(ATV.rglob("*.py")) if file != ATV / "__init__.py"]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if name.split(".")[0] in ("atv", "ablations", "experiments", "tests"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ATV)))
def test_imports_never_run_upwards(file):
    own = file.relative_to(ATV).parts[0].removesuffix(".py")
    for name in imported(file):
        parts = name.split(".")
        assert parts[0] == "atv", f"{file} imports {name}"
        if len(parts) > 1 and parts[1] != own:
            assert LEVEL[parts[1]] <= LEVEL[own], f"{file} imports {name}"
