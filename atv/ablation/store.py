"""Finished cells on disk: results/<ablation>/cells/<id>/{cell.json, scores.parquet, report.json}."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from atv.ablation.base import Cell
from atv.evaluation.questions import QuestionBatch
from atv.files import write_json

# Raised by hand when the same inputs would give other numbers; cells of another schema are left alone.
CELL_SCHEMA = 1


@dataclass(frozen=True)
class FinishedCell:
    """A cell with its answers (one row a question), its pruning report as a dict, and what cell.json holds."""

    cell: Cell
    answers: pd.DataFrame
    report: dict[str, Any] | None
    record: dict[str, Any]


def digest(*parts: Any) -> str:
    """16 hexadecimal digits of JSON-able parts."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def model_digest(folder: Path) -> str:
    """Of the config and every weights file."""
    state = hashlib.blake2b(digest_size=8)
    for file in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        with open(file, "rb") as stream:
            while part := stream.read(1 << 24):
                state.update(part)
    return state.hexdigest()


def questions_digest(batches: Iterable[QuestionBatch]) -> str:
    """Of every question with its answers, whatever the batches."""
    rows = [question for batch in batches for question in batch.questions]
    return digest(sorted(rows, key=lambda row: row["question_id"]))


class CellStore:
    """Cells of one ablation, named by everything that moves their numbers."""

    def __init__(self, folder: Path, model: str, calibration: str, questions: str) -> None:
        self.folder = folder / "cells"
        self.inputs = {"model": model, "calibration": calibration, "questions": questions}

    def id_of(self, cell: Cell) -> str:
        return digest(CELL_SCHEMA, cell.config(), self.inputs)

    def load(self, cell: Cell) -> FinishedCell | None:
        """The finished cell, or None; labels are the asking cell's."""
        folder = self.folder / self.id_of(cell)
        if not (folder / "cell.json").is_file():
            return None
        report = folder / "report.json"
        return FinishedCell(
            cell,
            pd.read_parquet(folder / "scores.parquet"),
            json.loads(report.read_text()) if report.is_file() else None,
            json.loads((folder / "cell.json").read_text()),
        )

    def save(self, finished: FinishedCell) -> None:
        """Writes all files in a hidden folder first, which then takes the cell's name."""
        final = self.folder / self.id_of(finished.cell)
        self.folder.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=self.folder, prefix=".writing-"))
        try:
            finished.answers.to_parquet(hidden / "scores.parquet", index=False)
            if finished.report is not None:
                write_json(hidden / "report.json", finished.report)
            identity = {"id": final.name, "cell_schema": CELL_SCHEMA, "inputs": self.inputs}
            config = {"config": finished.cell.config(), "labels": dict(finished.cell.labels)}
            write_json(hidden / "cell.json", identity | config | finished.record)
            shutil.rmtree(final, ignore_errors=True)
            hidden.rename(final)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
