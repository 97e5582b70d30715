"""The files of an ablation in results/<name>/ apart from its figure: table.csv and .md, findings.json, run.json.

Only this module writes and reads these files; run.json holds the schema of all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
from pandas.api.types import is_string_dtype
from pydantic import AfterValidator, Field

from atv.ablation.findings import Finding
from atv.ablation.tables import ShownTable
from atv.data.wording import reason
from atv.records.files import atomic, json_of, read_json, write_json, write_text
from atv.records.typed import Count, Number, Seconds, typed
from atv.statistics.estimates import CONFIDENCE, Estimate, Spread

RUN, FINDINGS, TABLE = "run.json", "findings.json", "table.csv"
# 2: run.json says which tasks are shown and which columns hold words; in 1 only table.md showed that.
SCHEMA = 2
_PositiveCount = Annotated[int, Field(strict=True, gt=0, lt=2**31)]
_Variance = Annotated[float, Field(strict=True, ge=0)]
_Seed = Annotated[int, Field(strict=True)]


def _moment(text: str) -> datetime:
    if (moment := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError("it has no time zone")
    return moment


@dataclass(frozen=True)
class _Cell:
    """A cell as run.json records it."""

    id: str
    labels: dict[str, Any]
    seconds: Seconds
    pruned: Seconds = 0.0


@dataclass(frozen=True)
class _Run:
    """The parts of run.json that its readers rely on."""

    name: str
    question: str
    paper: str
    about: str
    caption: str
    file: str
    seeds: Annotated[list[_Seed], Field(min_length=1)]
    versions: dict[str, str]
    git: str
    hardware: str
    cells: list[_Cell]
    model: str | None = None
    samples: Count = 0
    groups: Count | None = None
    whole_seeds: Count = 1
    written: Annotated[str, AfterValidator(_moment)] | None = None
    words: list[str] | None = None
    columns: list[str] | None = None


@dataclass(frozen=True)
class _Spread:
    """``Spread``, field by field."""

    groups: _PositiveCount
    seeds: _PositiveCount
    questions: _Variance
    freedom: Annotated[float, Field(strict=True, gt=0)]
    drawn: _Variance
    both: _Variance


@dataclass(frozen=True)
class _Ours:
    value: Number
    low: Number
    high: Number
    spread: _Spread | None = None
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)] = CONFIDENCE
    runs: list[str] = field(default_factory=list)

    def estimate(self) -> Estimate:
        spread = Spread(*astuple(self.spread)) if self.spread else None
        return Estimate(self.value, self.low, self.high, spread, self.confidence, tuple(self.runs))


@dataclass(frozen=True)
class _Stored:
    """The part of a finding in findings.json that is read on its own."""

    ours: _Ours


@dataclass(frozen=True)
class AblationRecord:
    """An ablation's results.

    Attributes:
        run: the question, the settings, what made the results and when, and the cells with their labels and seconds.
        findings: findings with the verdicts of their own intervals.
        table: the numbers; if read from a file, every value is text.
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
        """When the tables were made; None if that was not recorded."""
        return datetime.fromisoformat(self.run["written"]) if self.run.get("written") else None

    @property
    def seconds(self) -> dict[str, float]:
        """Cell id -> seconds that it took to prune and to ask."""
        return {cell["id"]: cell["seconds"] for cell in self.run["cells"]}

    def write(self, folder: Path, columns: Sequence[str] | None = None) -> None:
        """Writes each file atomically, run.json last; ``columns`` are the tasks that table.md shows."""
        with atomic(folder / TABLE) as path:
            self.table.to_csv(path, index=False)
        words = [name for name, values in self.table.items() if is_string_dtype(values.dropna())]
        text = ShownTable.of(_as_text(folder / TABLE), words, columns).markdown()
        write_text(folder / "table.md", f"# {self.run['question']}\n\n{self.run['caption']}\n\n{text}\n")
        write_json(folder / FINDINGS, [_recorded(finding) for finding in self.findings])
        table_settings = {"columns": None if columns is None else list(columns), "words": words}
        write_json(folder / RUN, dict(self.run) | table_settings | {"schema": SCHEMA})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads what ``write`` of this version or an earlier one wrote.

        Raises:
            ValueError: for a folder that is not an ablation's or is incomplete, saying what is wrong.
        """
        if missing := [name for name in (RUN, FINDINGS, TABLE) if not (folder / name).is_file()]:
            raise ValueError(f"no {', '.join(missing)}")
        run = read_json(folder / RUN, SCHEMA)
        typed(_Run, run, folder / RUN)
        return cls(run, _read_findings(folder / FINDINGS), _read_table(run, folder / TABLE))


def _read_table(run: Mapping[str, Any], file: Path) -> pd.DataFrame:
    """Reads the table and checks that it can be shown."""
    table = _as_text(file)
    try:
        AblationRecord(run, (), table).shown  # noqa: B018
    except (LookupError, ValueError, TypeError) as error:
        raise ValueError(f"{file} is not a table of results: {reason(error)}") from error
    return table


def _as_text(file: Path) -> pd.DataFrame:
    """Reads every value as text, "" if it is missing."""
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise ValueError(f"{file} holds no table: {reason(error)}") from error


def _recorded(finding: Finding) -> dict[str, Any]:
    judgement = {"verdict": finding.verdict, "p": finding.p, "remark": finding.remark}
    return asdict(finding) | {"ours": finding.ours.record()} | judgement


def _read_findings(file: Path) -> list[Finding]:
    """Reads findings, whose verdicts follow from their intervals, whatever the file says."""
    rows = json_of(file)
    estimates = [stored.ours.estimate() for stored in typed(list[_Stored], rows, file)]
    return [typed(Finding, row | {"ours": estimate}, file) for row, estimate in zip(rows, estimates, strict=True)]
