"""Whether answers are those of one model with several seeds, as far as labels and reports tell."""

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


def _recipe(answers: Answers) -> dict[str, Any] | None:
    """How a model was pruned, but for the seed, by the report in its folder; None where the folder is not at hand."""
    if answers.model is None or not (Path(answers.model) / "config.json").is_file():
        return None
    folder = Path(answers.model)
    pruned = (folder / REPORT).is_file()
    return {"pruned": pruned, "settings": dict(PruningReport.read(folder).settings) if pruned else {}}
