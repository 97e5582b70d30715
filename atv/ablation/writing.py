"""Writes an ablation's answer to disk: its record and its figure."""

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from atv.ablation.base import Ablation
from atv.ablation.findings import Finding
from atv.ablation.record import AblationRecord
from atv.ablation.results import Results
from atv.figures.saving import save_figure
from atv.records.provenance import provenance


def write_results(
    ablation: Ablation,
    results: Results,
    folder: Path,
    origin: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    findings: Sequence[Finding] | None = None,
) -> AblationRecord:
    """Writes figure.png and the record's files, each atomically; ``origin`` says how the cells came about.

    ``findings`` are those of earlier looks at the results, if there were several; None for the ablation's own.

    Returns:
        The record.
    """
    table = ablation.table(results)
    figure = ablation.figure(table, results)
    save_figure(figure, folder / "figure.png")
    plt.close(figure)
    told = ablation.findings(results) if findings is None else findings
    record = AblationRecord(_run(ablation, results, origin), told, table)
    record.write(folder, columns)
    return record


def _run(ablation: Ablation, results: Results, origin: Mapping[str, Any]) -> dict[str, Any]:
    described = {"name": ablation.name, "question": ablation.question, "paper": ablation.paper}
    described |= {"about": inspect.getdoc(ablation) or "", "caption": ablation.caption}
    cells = [
        {"id": done.folder.name, "labels": dict(done.cell.labels), "seed": done.cell.seed, "seconds": done.seconds}
        | {"pruned": done.record.seconds.get("prune", 0.0)}
        for done in results.finished
    ]
    written = {"written": datetime.now(UTC).isoformat(timespec="seconds")}
    return described | dict(origin) | provenance() | written | {"cells": cells}
