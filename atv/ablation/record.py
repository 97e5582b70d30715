"""What an ablation leaves in results/<name>/, but for its figure: table.csv and .md, findings.json, run.json.

This alone writes and reads these files; run.json has the schema of all of them.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pandas as pd
from pandas.api.types import is_string_dtype

from atv.ablation.findings import Finding
from atv.ablation.tables import RETENTION, chosen_tasks
from atv.records.files import atomic, read_json, write_json, write_text
from atv.records.markdown import markdown
from atv.records.typed import typed
from atv.statistics.estimates import Estimate

RUN, FINDINGS, TABLE = "run.json", "findings.json", "table.csv"
# 2: the tasks that are shown and the columns of words stand in run.json; in 1 they could be read off table.md alone.
SCHEMA = 2
# Of a finding, what follows from the rest.
JUDGED = ("verdict", "p", "remark")


@dataclass(frozen=True)
class TableCell:
    """A heading or cell: what counts, and in small print behind it its interval or count."""

    text: str
    small: str = ""

    @property
    def plain(self) -> str:
        """Both in one line."""
        return f"{self.text} {self.small}".rstrip()


@dataclass(frozen=True)
class ShownTable:
    """A table as a reader sees it: headings and rows."""

    heads: list[TableCell]
    rows: list[list[TableCell]]

    @classmethod
    def of(cls, table: pd.DataFrame, words: Collection[str] = (), columns: Sequence[str] | None = None) -> "ShownTable":
        """The table to show: of retention, a line a labelling and a column a task; of all else, as it is, rounded.

        Args:
            table: every value as the CSV file has it, as text.
            words: columns that hold words, even such as look like numbers.
            columns: tasks to show; None is all.

        Raises:
            ValueError: for a column that is no task.
        """
        if set(RETENTION) <= set(table):
            return cls._by_task(table, columns)
        rows = [
            [TableCell(value if name in words else _short(value)) for name, value in zip(table, row, strict=True)]
            for row in table.itertuples(index=False)
        ]
        return cls([TableCell(str(name)) for name in table], rows)

    @classmethod
    def _by_task(cls, table: pd.DataFrame, columns: Sequence[str] | None) -> "ShownTable":
        labels = [name for name in table if name not in RETENTION]
        counts = table.drop_duplicates("task").set_index("task")["groups"]
        tasks = chosen_tasks([task for task in counts.index if task != "average"], columns)
        rows = []
        for values, part in table.groupby(labels, sort=False):
            by_task = part.set_index("task")
            named = [TableCell(value) for value in (*values, by_task["seeds"].iloc[0])]
            rows.append([*named, *(_kept(by_task.loc[task]) for task in tasks)])
        heads = [
            *map(TableCell, labels),
            TableCell("seeds"),
            *(TableCell(task, f"({counts[task]} groups)") for task in tasks),
        ]
        return cls(heads, rows)

    def markdown(self) -> str:
        """The table in Markdown; a heading's small print stands below it."""
        heads = [f"{head.text}<br>{head.small}" if head.small else head.text for head in self.heads]
        return markdown(heads, [[entry.plain for entry in row] for row in self.rows])


def _kept(row: pd.Series) -> TableCell:
    score = f" ({float(row['score']):.1f})" if row["score"] else ""
    if not row["retention"]:
        return TableCell("none", score.strip())
    return TableCell(f"{float(row['retention']):.1f}", f"[{float(row['low']):.1f}, {float(row['high']):.1f}]{score}")


def _short(value: str) -> str:
    """Four digits of a fraction; anything else as it is.

    >>> _short("0.123456"), _short("128"), _short("AllTokens"), _short("")
    ('0.1235', '128', 'AllTokens', '')
    """
    if not any(sign in value for sign in ".e"):
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


@dataclass(frozen=True)
class _Cell:
    """What run.json says of a cell."""

    id: str
    labels: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class _Run:
    """What of run.json its readers rely on."""

    name: str
    question: str
    paper: str
    about: str
    caption: str
    file: str
    seeds: list[int]
    versions: dict[str, str]
    git: str
    hardware: str
    cells: list[_Cell]
    model: str | None = None
    groups: int | None = None
    written: datetime | None = None
    words: list[str] | None = None
    columns: list[str] | None = None


@dataclass(frozen=True)
class AblationRecord:
    """An ablation's results.

    Attributes:
        run: what it asks, what it was given, what made it, when, and its cells with their labels and seconds.
        findings: with the verdict of their own interval.
        table: the numbers; when read from a file every value is text.
    """

    run: Mapping[str, Any]
    findings: Sequence[Finding]
    table: pd.DataFrame

    @property
    def shown(self) -> ShownTable:
        """The table as a reader sees it."""
        return ShownTable.of(self.table, self.run.get("words", ()), self.run.get("columns"))

    @property
    def written(self) -> datetime | None:
        """When the tables were made, where that was recorded."""
        return datetime.fromisoformat(self.run["written"]) if "written" in self.run else None

    @property
    def seconds(self) -> dict[str, float]:
        """Cell -> what it took to prune and to ask."""
        return {cell["id"]: cell["seconds"] for cell in self.run["cells"]}

    def write(self, folder: Path, columns: Sequence[str] | None = None) -> None:
        """Writes each file atomically, run.json last; ``columns`` are the tasks that table.md shows."""
        with atomic(folder / TABLE) as path:
            self.table.to_csv(path, index=False)
        words = [name for name, values in self.table.items() if is_string_dtype(values.dropna())]
        text = ShownTable.of(_as_text(folder / TABLE), words, columns).markdown()
        write_text(folder / "table.md", f"# {self.run['question']}\n\n{self.run['caption']}\n\n{text}\n")
        write_json(folder / FINDINGS, [_recorded(each) for each in self.findings])
        shown = {"columns": None if columns is None else list(columns), "words": words}
        write_json(folder / RUN, dict(self.run) | shown | {"schema": SCHEMA})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What ``write`` wrote, of this version or an earlier one.

        Raises:
            ValueError: for a folder that is not an ablation's, or not whole, saying what is wrong.
        """
        if missing := [name for name in (RUN, FINDINGS, TABLE) if not (folder / name).is_file()]:
            raise ValueError(f"no {', '.join(missing)}")
        run = read_json(folder / RUN, SCHEMA)
        typed(_Run, run, folder / RUN)
        return cls(run, _findings(folder / FINDINGS), _as_text(folder / TABLE))


def _as_text(file: Path) -> pd.DataFrame:
    """Every value as it stands there, "" for none."""
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{file.name} holds no table: {error}") from error


def _recorded(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"ours": finding.ours.record()} | {name: getattr(finding, name) for name in JUDGED}


def _findings(file: Path) -> list[Finding]:
    try:
        rows = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file.name} is no JSON: {error}") from error
    try:
        # The verdict is the interval's, whatever the file calls it.
        given = [{name: value for name, value in row.items() if name not in JUDGED} for row in rows]
        return [typed(Finding, row | {"ours": Estimate.read(row["ours"])}, file) for row in given]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file.name} holds something else than findings: {error}") from error
