"""``scores.json``: a model's scores, and how it was evaluated. Only this module writes and reads the file."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from atv.records.files import read_json, write_json
from atv.records.pruning_report import ScoreRow
from atv.records.typed import Count, Finite, Number, Share, holding, typed

SCORES = "scores.json"
# 2: the suite records how it was asked, and its answers hold the questions; benchmark answers say if they ended.
SCHEMA = 2
_AVERAGE = "average"
_PROVENANCE_KEYS = ("versions", "git", "hardware")


@dataclass(frozen=True)
class TaskRow:
    """The score (0 to 1) of a task of the bundled suite, with its numbers of groups and questions."""

    score: Share
    groups: Count
    questions: Count


@dataclass(frozen=True)
class _Row:
    """The fields of a benchmark's row that readers rely on."""

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
    """The field of ``asked`` that readers rely on; in the file, the fields of ``asked`` are next to the scores."""

    asked_with: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationReport:
    """A model's scores: ``tasks`` of the suite, ``benchmarks``, and ``retention`` if the dense answers were known.

    ``retention`` holds value, low and high in percent by benchmark, including "average". A benchmark's row holds its
    score as it is usually reported and the maximum, ``right`` out of ``of`` groups, the numbers of questions and of
    ``unread`` answers, parts, categories, the length of answers, and what pins the benchmark (version, hub id,
    configuration, split, revision, digest of the questions) and how it was asked (``asked_with``). ``asked`` holds the
    model and the options of the evaluation; if the folder has results of several commands, those of the last one. Its
    own ``asked_with`` is that of the suite.
    """

    asked: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, TaskRow] = field(default_factory=dict)
    benchmarks: dict[str, Annotated[dict[str, Any], holding(_Row)]] = field(default_factory=dict)
    retention: dict[str, Annotated[dict[str, Number], holding(_Retained)]] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes scores.json atomically, and keeps earlier scores of other benchmarks, or of a suite not asked again.

        The suite's scores are replaced as a whole, like its answers.
        """
        earlier_report = self.read(folder / SCORES) if (folder / SCORES).is_file() else EvaluationReport()
        tasks, benchmarks = self.tasks or earlier_report.tasks, earlier_report.benchmarks | self.benchmarks
        scores: dict[str, Any] = {"tasks": {name: asdict(row) for name, row in tasks.items()}} if tasks else {}
        if benchmarks:
            scores |= {"benchmarks": benchmarks, "retention": self._merged_retention(earlier_report)}
        asked = {**earlier_report.asked, **self.asked}
        write_json(folder / SCORES, {"schema": SCHEMA} | scores | asked | dict(self.made))

    def _merged_retention(self, earlier_report: "EvaluationReport") -> dict[str, dict[str, float]]:
        """Returns the retention of all benchmarks, with an average only if it covers all of them."""
        earlier_retention = {
            name: retention
            for name, retention in earlier_report.retention.items()
            if name not in {_AVERAGE, *self.benchmarks}
        }
        if not self.benchmarks:
            return earlier_report.retention
        return earlier_retention | {
            name: retention for name, retention in self.retention.items() if name != _AVERAGE or not earlier_retention
        }

    @classmethod
    def check_folder(cls, folder: Path, model: str, again: Collection[str] | None) -> None:
        """Checks that a model's results may be written next to those that a folder already has.

        Args:
            model: digest of the model's weights.
            again: the benchmarks that are to be asked, whose results are replaced; None for the suite.

        Raises:
            ValueError: if the folder has results of a different model, would keep results that do not say which model
                they belong to, or has a file that cannot be read.
        """
        if not (folder / SCORES).is_file():
            return
        report = cls.read(folder / SCORES)
        remaining_names = (
            [*report.benchmarks] if again is None else [*report.tasks, *(report.benchmarks.keys() - set(again))]
        )
        recorded_model = report.asked.get("model_digest")
        if recorded_model != model and (recorded_model is not None or remaining_names):
            raise ValueError(
                f"output: {str(folder)!r} holds scores of another model ({report.asked.get('model', 'not named')!r}), "
                "or of an earlier version of atv; choose another folder"
            )

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads a scores.json of this or an earlier version.

        Raises:
            ValueError: if the file is missing, is not valid JSON, has a later schema, or holds something else.
        """
        content = read_json(file, SCHEMA)
        typed(_Asked, content, file)
        results = {name: content.pop(name, {}) for name in ("tasks", "benchmarks", "retention")}
        provenance = {name: content.pop(name) for name in _PROVENANCE_KEYS if name in content}
        content.pop("schema", None)
        return typed(cls, results | {"asked": content, "made": provenance}, file)

    def rows(self) -> dict[str, ScoreRow]:
        """Returns the rows for a model card, by benchmark or task of the suite."""
        rows = {name: ScoreRow(row["score"], row["of"], row["version"]) for name, row in self.benchmarks.items()}
        version = f"{self.asked.get('evaluation', 'bundled')}, {self.asked.get('split', 'test')}"
        for name, task in self.tasks.items():
            rows[name] = ScoreRow(100 * task.score, task.questions, version)
        return {name: ScoreRow(row.score, row.of, row.version, self.retention.get(name)) for name, row in rows.items()}
