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
    shown_findings = ablation.findings(results) if findings is None else findings
    record = AblationRecord(_run_record(ablation, results, origin), shown_findings, table)
    record.write(folder, columns)
    return record


def _run_record(ablation: Ablation, results: Results, origin: Mapping[str, Any]) -> dict[str, Any]:
    run = {"name": ablation.name, "question": ablation.question, "paper": ablation.paper}
    run |= {"about": inspect.getdoc(ablation) or "", "caption": ablation.caption}
    cells = [
        {
            "id": finished_cell.folder.name,
            "labels": dict(finished_cell.cell.labels),
            "seed": finished_cell.cell.seed,
            "seconds": finished_cell.seconds,
        }
        | {"pruned": finished_cell.record.seconds.get("prune", 0.0)}
        for finished_cell in results.finished
    ]
    written_at = {"written": datetime.now(UTC).isoformat(timespec="seconds")}
    return run | dict(origin) | provenance() | written_at | {"cells": cells}
