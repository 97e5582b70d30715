"""The cells of an ablation's results by their names, as people compare them."""

import re
from pathlib import Path

from atv.ablation.record import RUN, AblationRecord
from atv.records.cell_record import titled


def named_cells(source: str) -> list[list[Path]]:
    """The cells that a name stands for, each with the folders of its seeds.

    ``results/alpha`` is all methods of an ablation in the order of its grid, the dense model first;
    ``results/alpha/alpha 1.0, sparsity 0.5`` is one of them, called as its cell's line says. Their answers lie in
    ``results/cells``.

    Returns:
        [] for what names no ablation's results.

    Raises:
        ValueError: for results that are not whole, or a method that the ablation has not, naming those that it has.
    """
    folder, method = Path(source), ""
    if not (folder / RUN).is_file():
        folder, method = folder.parent, folder.name
    # A run of atv prune has a file of that name too, and leaves a model.
    if not (folder / RUN).is_file() or (folder / "config.json").is_file():
        return []
    by_title: dict[str, list[Path]] = {}
    try:
        record = AblationRecord.read(folder)
    except ValueError as error:
        raise ValueError(f"folders: {str(folder)!r} holds no ablation's results: {error}") from error
    for cell in record.run["cells"]:
        by_title.setdefault(titled(cell["labels"]), []).append(folder.parent / "cells" / cell["id"])
    if method and method not in by_title:
        raise ValueError(f"folders: {str(folder)!r} has no {method!r}. Choices: {'; '.join(by_title)}")
    return [by_title[method]] if method else list(by_title.values())


def models_of(names: list[str]) -> list[list[Path]]:
    """What a command line names, each model with its seeds: names of cells, or folders and files with commas between
    them (a comma with a space behind it is part of a name)."""
    return [model for name in names for model in named_cells(name) or [[Path(one) for one in re.split(",(?! )", name)]]]
