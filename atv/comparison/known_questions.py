"""Questions with their right answers and pictures, for scoring other engines' answers and for pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL.Image import Image

from atv.comparison.answers import KEY, OWN, Answers, as_lists
from atv.data.conversations import read_row
from atv.data.pictures import decode
from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.question_sets import Benchmarks, Questions, Suite
from atv.evaluation.questions import first_groups, picture_fields

# Fields of a question that a metric may read.
SCORED_BY = ("question", "options", "answer", "answers", "metric")


@dataclass(frozen=True)
class KnownQuestions:
    """Questions from data, from answers to them, or both.

    Attributes:
        question_set: the data; None if only answers are available, which contain no pictures.
        answers: answers of a folder; if they contain questions, those take precedence.
    """

    question_set: Questions | None = None
    answers: Answers | None = None

    @cached_property
    def by_key(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(task, question id) -> the question's fields.

        Raises:
            ValueError: if neither data nor answers contain them.
        """
        if self.answers is not None and all(name in self.answers.rows for name in SCORED_BY):
            rows = self.answers.rows.drop(columns=[name for name in OWN if name in self.answers.rows])
            return {(row["task"], row["question_id"]): _with_lists(row) for row in rows.to_dict("records")}
        if isinstance(self.question_set, Benchmarks):
            questions = [entry.question for loaded in self.question_set.loaded for entry in loaded.questions]
            return {(question["task"], question["question_id"]): question for question in questions}
        if isinstance(self.question_set, Suite):
            rows = self._suite
            questions = [read_row(rows, index) for index in range(len(rows))]
            without_images = [
                {name: value for name, value in row.items() if name != "image"} | picture_fields(row["image"])
                for row in questions
            ]
            return {(question["task"], question["question_id"]): question for question in without_images}
        raise ValueError(
            "the questions are not available: put a folder of atv evaluate first, or name the benchmark with "
            "--benchmark and --data, or the suite with --evaluation and --split"
        )

    @property
    def benchmarks(self) -> Mapping[str, LoadedBenchmark]:
        """Benchmark names -> their data."""
        loaded = self.question_set.loaded if isinstance(self.question_set, Benchmarks) else ()
        return {entry.benchmark.name: entry for entry in loaded}

    def pictures(self, question: Mapping[str, Any]) -> list[Image]:
        """Returns the pictures that were shown with a question, of which there may be none or several.

        Raises:
            ValueError: if they are not available, or are not what the answers say was shown.
        """
        key = tuple(question[name] for name in KEY)
        if "seen" not in question:
            raise ValueError("the answers do not say what was shown")
        if isinstance(self.question_set, Suite):
            shown_picture = self._suite_picture(key[1])
            _require_same(picture_fields(shown_picture)["seen"] == question["seen"])
            return [] if shown_picture is None else [shown_picture]
        if question["task"] not in self.benchmarks:
            raise ValueError("the data are not available: name them with --benchmark and --data, or with --evaluation")
        loaded, entries = self.benchmarks[question["task"]], self._entries[question["task"]]
        _require_same(key[1] in entries and entries[key[1]].question["seen"] == question["seen"])
        pictures_by_number = loaded.benchmark.pictures(loaded.rows[entries[key[1]].index])
        return [decode(picture, loaded.root) for _, picture in sorted(pictures_by_number.items())]

    def _suite_picture(self, question_id: str) -> Image | None:
        if question_id not in self._suite_indices:
            raise ValueError("the question is not in the data: name different data with --evaluation and --split")
        picture: Image | None = read_row(self._suite, self._suite_indices[question_id])["image"]
        return picture

    @cached_property
    def _suite(self) -> Any:
        assert isinstance(self.question_set, Suite)
        return self.question_set.rows.select(first_groups(self.question_set.rows, self.question_set.groups))

    @cached_property
    def _suite_indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self._suite["question_id"])}

    @cached_property
    def _entries(self) -> dict[str, dict[str, Any]]:
        return {
            name: {entry.question["question_id"]: entry for entry in loaded.questions}
            for name, loaded in self.benchmarks.items()
        }


def _with_lists(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): as_lists(value) for name, value in row.items()}


def _require_same(same: bool) -> None:
    if not same:
        raise ValueError("the given data show a different picture or text: name the data that were asked")
