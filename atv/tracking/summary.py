"""The entry of an ablation's summary: its table, findings, figure, and retention against sparsity."""

from dataclasses import asdict
from typing import Any

import pandas as pd

from atv.ablation.grid import Written
from atv.ablation.levels import percent
from atv.ablation.results import Results
from atv.records.digests import content_digest, file_digest
from atv.records.provenance import provenance
from atv.tracking import keys
from atv.tracking.base import Entry

# Labels that may hold a sparsity; a setting can also be a pattern, such as 2:4.
_SPARSITIES = ("sparsity", "setting")


def summary_entry(written: Written) -> Entry:
    """Returns the entry for the record and the figure that were written."""
    record, results, folder, origin = written
    findings = [
        asdict(judged_finding) | {"ours": judged_finding.ours.record(), "verdict": judged_finding.verdict}
        for judged_finding in record.findings
    ]
    picture = folder / "figure.png"
    verdicts = [finding["verdict"] for finding in findings]
    name, about = record.run["name"], {key: record.run[key] for key in ("name", "question", "paper", "caption")}
    model = results.finished[0].record.inputs.get("model")
    return Entry(
        id=content_digest([name, "summary", model]),
        name=f"{name}: summary",
        group=name,
        kind="summary",
        config={"ablation": name, "about": about, "origin": dict(origin)} | provenance(),
        summary={
            "cells": len(results.finished),
            "seeds": len({finished_cell.cell.seed for finished_cell in results.finished}),
            "seconds/cells": sum(finished_cell.seconds for finished_cell in results.finished),
            **{f"findings/{verdict}": verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        },
        lines=_lines(results),
        tables={"table": record.table} | ({"findings": _flat(findings)} if findings else {}),
        images={keys.figure(name): picture},
        version=content_digest([record.table.to_csv(index=False), findings, file_digest(picture)]),
    )


def _lines(results: Results) -> dict[str, dict[float, float]]:
    """Returns average retention by method and sparsity, if a method has several sparsities.

    A method is identified by all labels other than the sparsity.
    """
    lines: dict[str, dict[float, float]] = {}
    if not results.has_dense:
        return lines
    for labels in results.methods():
        finished_cell = results.of(**labels)[0]
        if finished_cell.report is None or not finished_cell.was_asked:
            continue
        sparsity = keys.pruned(finished_cell.report.plans)[keys.SPARSITY]
        sparsity_labels = {label for label in _SPARSITIES if labels.get(label) in (sparsity, percent(sparsity))}
        method = ", ".join(str(value) for label, value in labels.items() if label not in sparsity_labels)
        lines.setdefault(method, {})[sparsity] = results.retention(**labels)["average"].value
    return {method: dict(sorted(line.items())) for method, line in lines.items() if len(line) > 1}


def _flat(findings: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns a table with one row per finding and separate columns for its interval."""
    estimates = (finding["ours"] for finding in findings)
    return pd.DataFrame(
        {**finding, "ours": ours["value"], "low": ours["low"], "high": ours["high"]}
        for finding, ours in zip(findings, estimates, strict=True)
    )
