"""Finds the cells of an ablation's results by the names under which people compare them."""

import re
from pathlib import Path

from atv.ablation.record import RUN, AblationRecord
from atv.records.cell_record import cell_title


def named_cells(source: str) -> list[list[Path]]:
    """Returns the cells that a name stands for, each with the folders of its seeds.

    ``results/alpha`` stands for all methods of an ablation in the order of its grid, the dense model first;
    ``results/alpha/alpha 1.0, sparsity 0.5`` stands for one of them, by the name in its cell's line. Their answers are
    in ``results/cells``.

    Returns:
        [] for a name that is not that of an ablation's results.

    Raises:
        ValueError: for incomplete results, or a method that the ablation does not have, naming those that it has.
    """
    folder, method = Path(source), ""
    if not (folder / RUN).is_file():
        folder, method = folder.parent, folder.name
    # A run of atv prune also writes a file of that name, but beside a model.
    if not (folder / RUN).is_file() or (folder / "config.json").is_file():
        return []
    folders_by_title: dict[str, list[Path]] = {}
    try:
        record = AblationRecord.read(folder)
    except ValueError as error:
        raise ValueError(f"folders: {str(folder)!r} holds no ablation's results: {error}") from error
    for cell in record.run["cells"]:
        folders_by_title.setdefault(cell_title(cell["labels"]), []).append(folder.parent / "cells" / cell["id"])
    if method and method not in folders_by_title:
        raise ValueError(f"folders: {str(folder)!r} has no {method!r}. Choices: {'; '.join(folders_by_title)}")
    return [folders_by_title[method]] if method else list(folders_by_title.values())


def models_of(names: list[str]) -> list[list[Path]]:
    """Returns the models that a command line names, each with its seeds.

    A model is given by a name of cells, or by folders and files separated by commas (a comma followed by a space is
    part of a name).
    """
    return [
        model for name in names for model in named_cells(name) or [[Path(path) for path in re.split(",(?! )", name)]]
    ]
