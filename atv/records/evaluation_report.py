"""``scores.json``: what a model scored, and how it was asked. This alone writes and reads the file."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from atv.records.files import read_json, write_json
from atv.records.pruning_report import ScoreRow
from atv.records.typed import Count, Finite, Number, Share, holding, typed

SCORES = "scores.json"
# 2: the suite says how it was asked, and its answers hold the questions; benchmarks' answers say whether they ended.
SCHEMA = 2
_AVERAGE = "average"
_MADE = ("versions", "git", "hardware")


@dataclass(frozen=True)
class TaskRow:
    """A task of the bundled suite: its score (0 to 1), over how many groups and questions."""

    score: Share
    groups: Count
    questions: Count


@dataclass(frozen=True)
class _Row:
    """What of a benchmark's row its readers rely on."""

    score: Finite
    of: Count
    version: Any


@dataclass(frozen=True)
class _Retained:
    value: Number
    low: Number
    high: Number


@dataclass(frozen=True)
class _Asked:
    """What of ``asked``, whose fields stand beside the scores, readers rely on."""

    asked_with: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationReport:
    """What a model scored: of the suite ``tasks``, of benchmarks ``benchmarks`` and, where the dense model's answers
    were known, ``retention``: value, low and high in percent by benchmark, "average" among them.

    A benchmark's row has its score as it is reported and the maximum, ``right`` of ``of`` groups, questions, answers
    that were ``unread``, parts, categories, the length of answers, and what pins the benchmark (version, hub id,
    configuration, split, revision, digest of the questions) and the asking (``asked_with``). ``asked`` says of what
    model and with which options, of the last command where a folder has results of several; ``asked_with`` in it is the
    suite's.
    """

    asked: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, TaskRow] = field(default_factory=dict)
    benchmarks: dict[str, Annotated[dict[str, Any], holding(_Row)]] = field(default_factory=dict)
    retention: dict[str, Annotated[dict[str, Number], holding(_Retained)]] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes scores.json, atomically, beside what the folder's earlier one has of other benchmarks, or of a suite
        where none was asked: as its answers, its scores are replaced as a whole."""
        before = self.read(folder / SCORES) if (folder / SCORES).is_file() else EvaluationReport()
        tasks, benchmarks = self.tasks or before.tasks, before.benchmarks | self.benchmarks
        scores: dict[str, Any] = {"tasks": {name: asdict(row) for name, row in tasks.items()}} if tasks else {}
        if benchmarks:
            scores |= {"benchmarks": benchmarks, "retention": self._retention_beside(before)}
        asked = {**before.asked, **self.asked}
        write_json(folder / SCORES, {"schema": SCHEMA} | scores | asked | dict(self.made))

    def _retention_beside(self, before: "EvaluationReport") -> dict[str, dict[str, float]]:
        """Of all benchmarks; an average stands only where it is of all of them."""
        old = {name: kept for name, kept in before.retention.items() if name not in {_AVERAGE, *self.benchmarks}}
        if not self.benchmarks:
            return before.retention
        return old | {name: kept for name, kept in self.retention.items() if name != _AVERAGE or not old}

    @classmethod
    def check_folder(cls, folder: Path, model: str, again: Collection[str] | None) -> None:
        """Whether results of a model, by the digest of its weights, may lie beside those that a folder has.

        Args:
            again: the benchmarks that are to be asked, whose results are replaced; None for the suite.

        Raises:
            ValueError: for results that are another model's, or would stay and do not say whose, or a file that cannot
                be read.
        """
        if not (folder / SCORES).is_file():
            return
        there = cls.read(folder / SCORES)
        stays = [*there.benchmarks] if again is None else [*there.tasks, *(there.benchmarks.keys() - set(again))]
        whose = there.asked.get("model_digest")
        if whose != model and (whose is not None or stays):
            raise ValueError(
                f"output: {str(folder)!r} holds scores of another model ({there.asked.get('model', 'not named')!r}), "
                "or of an earlier version of atv; choose another folder"
            )

    @classmethod
    def read(cls, file: Path) -> Self:
        """What a scores.json holds, of this version or an earlier one.

        Raises:
            ValueError: for a file that is not there, is no JSON, of a later schema, or holds something else.
        """
        content = read_json(file, SCHEMA)
        typed(_Asked, content, file)
        parts = {name: content.pop(name, {}) for name in ("tasks", "benchmarks", "retention")}
        made = {name: content.pop(name) for name in _MADE if name in content}
        content.pop("schema", None)
        return typed(cls, parts | {"asked": content, "made": made}, file)

    def rows(self) -> dict[str, ScoreRow]:
        """Benchmark, or task of the suite -> its row for a model's card."""
        rows = {name: ScoreRow(row["score"], row["of"], row["version"]) for name, row in self.benchmarks.items()}
        version = f"{self.asked.get('evaluation', 'bundled')}, {self.asked.get('split', 'test')}"
        for name, task in self.tasks.items():
            rows[name] = ScoreRow(100 * task.score, task.questions, version)
        return {name: ScoreRow(row.score, row.of, row.version, self.retention.get(name)) for name, row in rows.items()}
