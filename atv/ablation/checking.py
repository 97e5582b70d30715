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
    lvlm, misfit = LVLM.of(model), ""
    for cell in cells:
        try:
            for pathway in cell.pathways.values():
                pathway.plan(lvlm, pathway.targets(lvlm, lvlm.targets(cell.targets)))
        except ValueError as error:
            misfit = misfit or str(error)
            continue
        if cell.pathways:
            return
    if misfit:
        raise UnsuitedModel(f"file: no cell of {ablation.name} fits this model: {misfit}")


def require_told_apart(cells: Sequence[Cell]) -> None:
    """Checks that no cell can be mistaken for another seed of a different one, nor a measurement for a different one.

    Labels and pathways are checked as well.

    Raises:
        ValueError: naming the cells.
    """
    settings_by_cell: dict[tuple[str, int], dict[str, Any]] = {}
    titles_by_digest: dict[str, str] = {}
    for cell in cells:
        _require_labels(cell)
        _require_pathways(cell)
        settings = _settings_by_name(cell)
        earlier_settings = settings_by_cell.setdefault((cell.title, cell.seed), settings)
        for name in settings | earlier_settings:
            if settings.get(name) != earlier_settings.get(name):
                values = f"{earlier_settings.get(name)!r:.60} and {settings.get(name)!r:.60}"
                raise ValueError(
                    f"cells: two are called {cell.title!r} with seed {cell.seed}, but differ in {name}: {values}"
                )
        title = titles_by_digest.setdefault(content_digest(settings), cell.title) if cell.measure else cell.title
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
    pathways: Any = cell.pathways
    are_pathways = isinstance(pathways, Mapping) and all(isinstance(pathway, Pathway) for pathway in pathways.values())
    if not are_pathways or set(pathways) not in PATHWAYS:
        got = pathways if not are_pathways else ", ".join(pathways)
        raise ValueError(f"pathways: {cell.title!r}: expected none, both, or text and visual, got {got!s:.60}")


def _settings_by_name(cell: Cell) -> dict[str, Any]:
    """Returns what affects the cell's numbers, by name, such as "pathways.both.sparsity"."""
    suite, suite_digest = cell.suite, ""
    if suite is not None:
        suite_digest = content_digest([suite.evaluation, suite.split, suite.groups, list(suite.rows["question_id"])])
    return _flat(cell.config() | {"samples": cell.samples, "suite": suite_digest})


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _require_rules(cells: Sequence[Cell], weight_dtype: dtype) -> None:
    """Checks every pathway as far as this needs no model, and each set of equal rules once on made-up tokens."""
    checked_rules: set[str] = set()
    for cell in cells:
        for name, pathway in cell.pathways.items():
            try:
                plan = pathway.parts()
                rules_digest = content_digest(cell.config()["pathways"][name] | {"sparsity": None})
                if rules_digest not in checked_rules:
                    check_contracts(plan, weight_dtype)
                checked_rules.add(rules_digest)
            except (ValueError, TypeError) as error:
                raise ValueError(f"file: {cell.title!r} cannot be pruned: {error}") from error


def _require_dense(ablation: Ablation, cells: Sequence[Cell]) -> None:
    """Checks that a retention table has a dense model to refer to; an ablation's own kind of table may need none."""
    ablation_class = type(ablation)
    reports_retention = ablation_class.table is Ablation.table and ablation_class.later is Ablation.later
    if reports_retention and any(cell.answers for cell in cells) and not any(cell.dense for cell in cells):
        raise ValueError(
            f"file: {ablation_class.__name__} reports retention, but has no cell for the dense model, Cell(labels)"
        )
