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
    findings = [asdict(each) | {"ours": each.ours.record(), "verdict": each.verdict} for each in record.findings]
    picture = folder / "figure.png"
    verdicts = [finding["verdict"] for finding in findings]
    name, run = record.run["name"], {key: record.run[key] for key in ("name", "question", "paper", "caption")}
    model = results.finished[0].record.inputs.get("model")
    return Entry(
        id=content_digest([name, "summary", model]),
        name=f"{name}: summary",
        group=name,
        kind="summary",
        config={"ablation": name, "about": run, "origin": dict(origin)} | provenance(),
        summary={
            "cells": len(results.finished),
            "seeds": len({done.cell.seed for done in results.finished}),
            "seconds/cells": sum(done.seconds for done in results.finished),
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
        done = results.of(**labels)[0]
        if done.report is None or not done.was_asked:
            continue
        sparsity = keys.pruned(done.report.plans)[keys.SPARSITY]
        said = {label for label in _SPARSITIES if labels.get(label) in (sparsity, percent(sparsity))}
        name = ", ".join(str(value) for label, value in labels.items() if label not in said)
        lines.setdefault(name, {})[sparsity] = results.retention(**labels)["average"].value
    return {name: dict(sorted(line.items())) for name, line in lines.items() if len(line) > 1}


def _flat(findings: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns a table with one row per finding and separate columns for its interval."""
    numbers = (finding["ours"] for finding in findings)
    return pd.DataFrame(
        {**finding, "ours": ours["value"], "low": ours["low"], "high": ours["high"]}
        for finding, ours in zip(findings, numbers, strict=True)
    )
