"""Checks, before the first cell is run, that an ablation's cells can be told apart and run on a model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import dtype
from transformers import PreTrainedModel

from atv.ablation.base import Ablation
from atv.ablation.cell import Cell
from atv.ablation.levels import UnsuitedModel
from atv.api import Pathway
from atv.calibration.contracts import check_contracts
from atv.model.lvlm import LVLM
from atv.records.digests import content_digest

PATHWAYS: tuple[set[str], ...] = (set(), {"both"}, {"text", "visual"})


def require_fit(ablation: Ablation, cells: Sequence[Cell], model: PreTrainedModel) -> None:
    """Checks that an ablation can be run on a model.

    All cells must be distinguishable and name rules that exist, at least one must be able to prune the model, and it
    must be possible to make the table.

    Raises:
        ValueError: naming the cell or the ablation, and the reason; UnsuitedModel if no cell can be run on the model.
    """
    require_told_apart(cells)
    _require_dense(ablation, cells)
    _require_rules(cells, model.dtype)
    lvlm, against = LVLM.of(model), ""
    for cell in cells:
        try:
            for pathway in cell.pathways.values():
                pathway.plan(lvlm, pathway.targets(lvlm, lvlm.targets(cell.targets)))
        except ValueError as error:
            against = against or str(error)
            continue
        if cell.pathways:
            return
    if against:
        raise UnsuitedModel(f"file: no cell of {ablation.name} fits this model: {against}")


def require_told_apart(cells: Sequence[Cell]) -> None:
    """Checks that no cell can be mistaken for another seed of a different one, nor a measurement for a different one.

    Labels and pathways are checked as well.

    Raises:
        ValueError: naming the cells.
    """
    by_name: dict[tuple[str, int], dict[str, Any]] = {}
    measured: dict[str, str] = {}
    for cell in cells:
        _require_labels(cell)
        _require_pathways(cell)
        own = _moving(cell)
        other = by_name.setdefault((cell.title, cell.seed), own)
        for part in own | other:
            if own.get(part) != other.get(part):
                both = f"{other.get(part)!r:.60} and {own.get(part)!r:.60}"
                raise ValueError(
                    f"cells: two are called {cell.title!r} with seed {cell.seed}, but differ in {part}: {both}"
                )
        title = measured.setdefault(content_digest(own), cell.title) if cell.measure else cell.title
        if title != cell.title:
            raise ValueError(
                f"cells: {title!r} and {cell.title!r} are the same measurement, {cell.measure!r}, and differ only in "
                "their labels; give each its own measure"
            )


def _require_labels(cell: Cell) -> None:
    for name, value in cell.labels.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"labels: expected text or a number for {name!r}, got {value!r:.60}") from error


def _require_pathways(cell: Cell) -> None:
    given: Any = cell.pathways
    whole = isinstance(given, Mapping) and all(isinstance(each, Pathway) for each in given.values())
    if not whole or set(given) not in PATHWAYS:
        got = given if not whole else ", ".join(given)
        raise ValueError(f"pathways: {cell.title!r}: expected none, both, or text and visual, got {got!s:.60}")


def _moving(cell: Cell) -> dict[str, Any]:
    """Returns what affects the cell's numbers, by name, such as "pathways.both.sparsity"."""
    suite, asked = cell.suite, ""
    if suite is not None:
        asked = content_digest([suite.evaluation, suite.split, suite.groups, list(suite.rows["question_id"])])
    return _flat(cell.config() | {"samples": cell.samples, "suite": asked})


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _require_rules(cells: Sequence[Cell], of_weights: dtype) -> None:
    """Checks every pathway as far as this needs no model, and each set of equal rules once on made-up tokens."""
    known: set[str] = set()
    for cell in cells:
        for name, pathway in cell.pathways.items():
            try:
                plan = pathway.parts()
                rules = content_digest(cell.config()["pathways"][name] | {"sparsity": None})
                if rules not in known:
                    check_contracts(plan, of_weights)
                known.add(rules)
            except (ValueError, TypeError) as error:
                raise ValueError(f"file: {cell.title!r} cannot be pruned: {error}") from error


def _require_dense(ablation: Ablation, cells: Sequence[Cell]) -> None:
    """Checks that a retention table has a dense model to refer to; an ablation's own kind of table may need none."""
    kind = type(ablation)
    all_told = kind.table is Ablation.table and kind.later is Ablation.later
    if all_told and any(cell.answers for cell in cells) and not any(cell.dense for cell in cells):
        raise ValueError(f"file: {kind.__name__} reports retention, but has no cell for the dense model, Cell(labels)")
