"""What an ablation leaves in results/<name>/: table.md, table.csv, figure.png, findings.json, run.json."""

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from atv.ablation.base import Ablation
from atv.ablation.results import Results
from atv.ablation.tables import write_tables
from atv.records.files import atomic, write_json
from atv.records.provenance import git_revision, hardware, versions


def write_results(
    ablation: Ablation, results: Results, folder: Path, origin: Mapping[str, Any], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Writes all files, each atomically; ``origin`` tells how the cells came about.

    Returns:
        The table.
    """
    table = ablation.table(results)
    write_tables(folder, table, ablation.question, ablation.caption, columns)
    figure = ablation.figure(table, results)
    with atomic(folder / "figure.png") as path:
        figure.savefig(path, dpi=160, format="png")
    plt.close(figure)
    write_json(folder / "findings.json", [finding.as_dict() for finding in ablation.findings(results)])
    described = {"name": ablation.name, "question": ablation.question, "paper": ablation.paper}
    described |= {"about": inspect.getdoc(ablation) or "", "caption": ablation.caption}
    cells = [
        {"id": done.folder.name, "labels": dict(done.cell.labels), "seed": done.cell.seed, "seconds": done.seconds}
        for done in results.finished
    ]
    made: dict[str, Any] = {"versions": versions(), "git": git_revision(), "hardware": hardware()}
    made |= {"written": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(folder / "run.json", described | dict(origin) | made | {"cells": cells})
    return table
