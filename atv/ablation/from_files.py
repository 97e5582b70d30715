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
    paths = [files] if isinstance(files, Path) else list(files)
    ablation_files = [
        python_file for path in paths for python_file in (sorted(path.glob("*.py")) if path.is_dir() else [path])
    ]
    if not ablation_files:
        raise ValueError(f"file: no ablation in {', '.join(map(str, paths))}")
    ablations = [_ablation_class(path)(levels) for path in ablation_files]
    for ablation in ablations:
        plugins.require_attributes(ablation, Ablation, "file")
    return ablations


def _ablation_class(file: Path) -> type[Ablation]:
    if not file.is_file():
        choices = ", ".join(str(path) for path in sorted(file.parent.glob("*.py")))
        raise ValueError(f"file: no such file {str(file)!r}" + (f". Choices: {choices}" if choices else ""))
    known_classes = set(plugins.derived(Ablation))
    plugins.load_file(file, "file")
    new_classes = plugins.usable(
        [new_class for new_class in plugins.derived(Ablation) if new_class not in known_classes]
    )
    if len(new_classes) != 1:
        raise ValueError(f"file: {str(file)!r} must define one Ablation, but defines {len(new_classes)}")
    plugins.require_concrete(new_classes[0], "file")
    return new_classes[0]
