"""A model's answers, question by question, read from any folder that atv writes answers to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atv.evaluation.answer_tables import checked_answers, read_answers, read_rows
from atv.records.cell_record import CELL, ROWS, CellRecord, cell_title
from atv.records.evaluation_report import SCORES, EvaluationReport

KEY = ["task", "question_id"]
OWN = ("prediction", "read", "credit", "ended", "fault")
# Inputs of cells that suffice to show that two cells were asked alike, whatever else they recorded.
_ASKING_INPUTS = ("model", "questions", "max_new_tokens")


@dataclass(frozen=True)
class Answers:
    """The answers of one model.

    Attributes:
        name: what to call the model.
        sources: the folder or file of each seed.
        by_seed: one table per seed with one row per question (``Answer``), sorted by task and question.
        seeds: seeds that the model was pruned with; None if it was not pruned, or if another engine does not say.
        asked_with: how the questions were asked, by task; without tasks for which this was not recorded.
        inputs: for cells, the digests that show whether they were asked alike.
        suite: the question set that holds the pictures: evaluation and split, or data by benchmark.
        model: the folder or hub id of the model that was asked, if it was recorded.
    """

    name: str
    sources: tuple[str, ...]
    by_seed: tuple[pd.DataFrame, ...]
    seeds: tuple[int | None, ...] = (None,)
    asked_with: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    suite: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    @property
    def rows(self) -> pd.DataFrame:
        """The answers of the first seed."""
        return self.by_seed[0]

    @property
    def tasks(self) -> list[str]:
        return sorted(set(self.rows["task"]))

    def of(self, tasks: Sequence[str]) -> "Answers":
        """Returns the answers to the questions of some tasks.

        Raises:
            ValueError: for a task that was not asked.
        """
        if missing_tasks := sorted(set(tasks) - set(self.tasks)):
            raise ValueError(
                f"{self.name}: was not asked {', '.join(missing_tasks)}; it was asked {', '.join(self.tasks)}"
            )
        by_seed = tuple(rows[rows["task"].isin(tasks)].reset_index(drop=True) for rows in self.by_seed)
        return replace(self, by_seed=by_seed)


def holds_answers(folder: Path) -> bool:
    """Returns whether atv wrote answers to a folder."""
    return any((folder / name).is_file() for name in (CELL, SCORES))


def read_folder(folder: Path) -> Answers:
    """Reads the answers in an output folder of ``atv evaluate`` or in a cell of ``atv ablate``.

    Raises:
        ValueError: for a folder without answers, or with none that can be compared.
    """
    if (folder / CELL).is_file():
        return _cell_answers(folder)
    if (folder / SCORES).is_file():
        return _evaluation_answers(folder)
    content = "no such folder or file" if not folder.exists() else "no answers there"
    if (folder / "config.json").is_file():
        content = f"a model, not its answers, which `atv evaluate --model {folder} --output FOLDER` writes"
    if (folder / "findings.json").is_file():
        content = "an ablation's tables, whose answers are in its cells (atv.ablation.named_cells finds them)"
    raise ValueError(
        f"{str(folder)!r}: {content}; expected what atv evaluate --output wrote (scores.json), a cell of atv ablate "
        "(results/cells/ID), or another engine's answers (JSONL)"
    )


def _cell_answers(folder: Path) -> Answers:
    record, file = CellRecord.read(folder), folder / ROWS
    rows = read_rows(file) if file.is_file() else pd.DataFrame()
    if "credit" not in rows:
        raise ValueError(f"{str(folder)!r}: the cell was asked no questions")
    asked_with = dict(record.asked_with)
    lengths = asked_with.pop("max_new_tokens", {})
    return Answers(
        cell_title(record.labels) or folder.name,
        (str(folder),),
        (table(checked_answers(rows, file), str(folder)),),
        (record.config.get("seed") if record.config.get("pathways") else None,),
        {task: asked_with | {"max_new_tokens": length} for task, length in lengths.items()},
        {name: record.inputs[name] for name in _ASKING_INPUTS if name in record.inputs},
        record.asked_from,
    )


def _evaluation_answers(folder: Path) -> Answers:
    report = EvaluationReport.read(folder / SCORES)
    tables: list[pd.DataFrame] = []
    asked_with: dict[str, Mapping[str, Any]] = {}
    suite: dict[str, Any] = {}
    if report.tasks:
        file = folder / "answers.parquet"
        if not file.is_file():
            raise ValueError(f"{str(folder)!r}: has scores but no answers.parquet")
        tables.append(checked_answers(read_rows(file), file))
        asked_with |= dict.fromkeys(report.tasks, _recorded_asking(report.asked, folder, "the suite"))
        suite |= {name: report.asked[name] for name in ("evaluation", "split") if name in report.asked}
    for name, row in report.benchmarks.items():
        tables.append(read_answers(folder / name / "answers.jsonl"))
        asked_with[name] = {**_recorded_asking(row, folder, name), "version": row["version"]}
        suite.setdefault("data", {})[name] = row.get("data")
    if not tables:
        raise ValueError(f"{str(folder)!r}: its scores.json has no scores")
    rows = table(pd.concat(tables, ignore_index=True), str(folder))
    return Answers(
        str(folder), (str(folder),), (rows,), asked_with=asked_with, suite=suite, model=report.asked.get("model")
    )


def _recorded_asking(record: Mapping[str, Any], folder: Path, question_set: str) -> Mapping[str, Any]:
    if "asked_with" not in record:
        raise ValueError(
            f"{str(folder)!r}: an earlier version of atv wrote the answers to {question_set} but not how they "
            "were asked for; evaluate again"
        )
    asked_with: Mapping[str, Any] = record["asked_with"]
    return asked_with


def table(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """Returns a table of answers in the form for comparing: sorted, with None for what was not recorded.

    Raises:
        ValueError: for a question that was answered twice.
    """
    rows = rows.assign(category=rows["category"].fillna(""), question_id=rows["question_id"].astype(str))
    if repeats := rows.duplicated(KEY).sum():
        name = rows.loc[rows.duplicated(KEY), "question_id"].iloc[0]
        raise ValueError(f"{source!r}: {repeats} questions are answered twice, such as {name!r}")
    with_none = {
        name: rows[name].astype(object).where(rows[name].notna(), None) for name in ("read", "ended") if name in rows
    }
    return rows.assign(**with_none).sort_values(KEY, ignore_index=True)


def as_lists(value: Any) -> Any:
    """Turns arrays, as parquet yields them, into lists; returns anything else as it is."""
    return value.tolist() if isinstance(value, np.ndarray) else value
