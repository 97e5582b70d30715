"""Loads ablations from the files that define them."""

from collections.abc import Sequence
from pathlib import Path

from atv import plugins
from atv.ablation.base import Ablation
from atv.ablation.levels import SUITED, Levels
from atv.bundled import BUNDLED


def load_ablations(files: Sequence[Path] | Path, levels: Levels = SUITED[BUNDLED]) -> list[Ablation]:
    """Loads the ablations that Python files define, at these levels; a folder stands for all of its files.

    Raises:
        ValueError: for a file that does not exist or does not define exactly one ablation, naming it, or whose ablation
            lacks a method or an attribute.
    """
    named = [files] if isinstance(files, Path) else list(files)
    every = [python_file for path in named for python_file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    if not every:
        raise ValueError(f"file: no ablation in {', '.join(map(str, named))}")
    ablations = [_ablation(path)(levels) for path in every]
    for ablation in ablations:
        plugins.require_attributes(ablation, Ablation, "file")
    return ablations


def _ablation(file: Path) -> type[Ablation]:
    if not file.is_file():
        near = ", ".join(str(path) for path in sorted(file.parent.glob("*.py")))
        raise ValueError(f"file: no such file {str(file)!r}" + (f". Choices: {near}" if near else ""))
    before = set(plugins.derived(Ablation))
    plugins.load_file(file, "file")
    kinds = plugins.usable([kind for kind in plugins.derived(Ablation) if kind not in before])
    if len(kinds) != 1:
        raise ValueError(f"file: {str(file)!r} must define one Ablation, but defines {len(kinds)}")
    plugins.require_concrete(kinds[0], "file")
    return kinds[0]
