"""Joins the answers of one model with several seeds, if labels and reports do not show different models."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atv.comparison.alike import check_alike
from atv.comparison.answers import Answers
from atv.records.pruning_report import REPORT, PruningReport
from atv.records.run_folder import differences


def one_model(parts: Sequence[Answers]) -> Answers:
    """Joins the answers of one model, or method, with several seeds.

    Raises:
        ValueError: for parts that were not asked alike, cells with different labels, a dense model beside a pruned one,
            different pruning settings, or a seed or a folder that appears twice.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for other in parts[1:]:
        check_alike(first, other)
        _check_recipe(first, other)
    seeds = tuple(seed for part in parts for seed in _own_seeds(part))
    known_seeds = [seed for seed in seeds if seed is not None]
    if len(set(known_seeds)) < len(known_seeds):
        raise ValueError(f"{first.name}: the same seed appears twice ({', '.join(map(str, known_seeds))})")
    sources = tuple(source for part in parts for source in part.sources)
    if len({Path(source).resolve() for source in sources}) < len(sources):
        raise ValueError(f"{first.name}: the same folder appears twice ({', '.join(sources)})")
    by_seed = tuple(rows for part in parts for rows in part.by_seed)
    return replace(first, sources=sources, by_seed=by_seed, seeds=seeds)


def _check_recipe(first: Answers, other: Answers) -> None:
    """Checks that models differ only in the seed; answers without a record of how their models were made pass."""
    if other.inputs and other.name != first.name:
        raise ValueError(f"seeds of one model must have the same labels; {other.name!r} is not {first.name!r}")
    first_recipe, other_recipe = _recipe(first), _recipe(other)
    if (
        first_recipe is not None
        and other_recipe is not None
        and (mismatches := list(differences(first_recipe, other_recipe)))
    ):
        raise ValueError(f"{other.name!r} is not another seed of {first.name!r}: {mismatches[0]}")


def _own_seeds(answers: Answers) -> tuple[int | None, ...]:
    """Returns the seed that the model was pruned with, from the report in its folder if nothing else says it."""
    folder = _folder(answers)
    if answers.seeds != (None,) or folder is None or not (folder / REPORT).is_file():
        return answers.seeds
    return (PruningReport.read(folder).seed,)


def _recipe(answers: Answers) -> dict[str, Any] | None:
    """Returns how a model was pruned, except for the seed, from its folder's report; None if there is no folder."""
    if (folder := _folder(answers)) is None:
        return None
    pruned = (folder / REPORT).is_file()
    return {"pruned": pruned, "settings": dict(PruningReport.read(folder).settings) if pruned else {}}


def _folder(answers: Answers) -> Path | None:
    """Returns the folder of the model that answered; None if it is not available."""
    folder = Path(answers.model or "")
    return folder if answers.model and (folder / "config.json").is_file() else None
