"""Whether answers are those of one model with several seeds, as far as labels and reports tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from atv.comparison.answers import Answers
from atv.records.pruning_report import REPORT, PruningReport
from atv.records.run_folder import differences


def check_one_model(first: Answers, other: Answers) -> None:
    """Answers of which nothing says how their models were made pass.

    Raises:
        ValueError: for cells of other labels, a dense model beside a pruned one, or other settings of pruning.
    """
    if other.inputs and other.name != first.name:
        raise ValueError(f"seeds of one model have the same labels; {other.name!r} is not {first.name!r}")
    there, here = _recipe(first), _recipe(other)
    if there is not None and here is not None and (found := list(differences(there, here))):
        raise ValueError(f"{other.name!r} is no other seed of {first.name!r}: {found[0]}")


def with_own_seed(answers: Answers) -> Answers:
    """With the seed that the model was pruned with, by the report in its folder, where nothing else told it."""
    folder = _folder(answers)
    if answers.seeds != (None,) or folder is None or not (folder / REPORT).is_file():
        return answers
    return replace(answers, seeds=(PruningReport.read(folder).seed,))


def _recipe(answers: Answers) -> dict[str, Any] | None:
    """How a model was pruned, but for the seed, by the report in its folder; None where the folder is not at hand."""
    if (folder := _folder(answers)) is None:
        return None
    pruned = (folder / REPORT).is_file()
    return {"pruned": pruned, "settings": dict(PruningReport.read(folder).settings) if pruned else {}}


def _folder(answers: Answers) -> Path | None:
    """Of the model that answered, where it is at hand."""
    folder = Path(answers.model or "")
    return folder if answers.model and (folder / "config.json").is_file() else None
