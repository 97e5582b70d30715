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
from atv.evaluation.questions import first_groups, seen

# Fields of a question that a metric may read.
SCORED_BY = ("question", "options", "answer", "answers", "metric")


@dataclass(frozen=True)
class KnownQuestions:
    """Questions from data, from answers to them, or both.

    Attributes:
        asked: the data; None if only answers are available, which contain no pictures.
        answered: answers of a folder; if they contain questions, those take precedence.
    """

    asked: Questions | None = None
    answered: Answers | None = None

    @cached_property
    def by_key(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(task, question id) -> the question's fields.

        Raises:
            ValueError: if neither data nor answers contain them.
        """
        if self.answered is not None and all(name in self.answered.rows for name in SCORED_BY):
            rows = self.answered.rows.drop(columns=[name for name in OWN if name in self.answered.rows])
            return {(row["task"], row["question_id"]): _plain(row) for row in rows.to_dict("records")}
        if isinstance(self.asked, Benchmarks):
            asked = [each.question for loaded in self.asked.loaded for each in loaded.questions]
            return {(question["task"], question["question_id"]): question for question in asked}
        if isinstance(self.asked, Suite):
            rows = self._suite
            asked = [read_row(rows, place) for place in range(len(rows))]
            bare = [{name: own for name, own in row.items() if name != "image"} | seen(row["image"]) for row in asked]
            return {(question["task"], question["question_id"]): question for question in bare}
        raise ValueError(
            "the questions are not available: put a folder of atv evaluate first, or name the benchmark with "
            "--benchmark and --data, or the suite with --evaluation and --split"
        )

    @property
    def benchmarks(self) -> Mapping[str, LoadedBenchmark]:
        """Benchmark names -> their data."""
        loaded = self.asked.loaded if isinstance(self.asked, Benchmarks) else ()
        return {each.benchmark.name: each for each in loaded}

    def pictures(self, question: Mapping[str, Any]) -> list[Image]:
        """Returns the pictures that were shown with a question, of which there may be none or several.

        Raises:
            ValueError: if they are not available, or are not what the answers say was shown.
        """
        key = tuple(question[name] for name in KEY)
        if "seen" not in question:
            raise ValueError("the answers do not say what was shown")
        if isinstance(self.asked, Suite):
            shown = self._of_suite(key[1])
            _require(seen(shown)["seen"] == question["seen"])
            return [] if shown is None else [shown]
        if question["task"] not in self.benchmarks:
            raise ValueError("the data are not available: name them with --benchmark and --data, or with --evaluation")
        loaded, places = self.benchmarks[question["task"]], self._places[question["task"]]
        _require(key[1] in places and places[key[1]].question["seen"] == question["seen"])
        found = loaded.benchmark.pictures(loaded.rows[places[key[1]].index])
        return [decode(picture, loaded.root) for _, picture in sorted(found.items())]

    def _of_suite(self, question_id: str) -> Image | None:
        if question_id not in self._places_of_suite:
            raise ValueError("the question is not in the data: name different data with --evaluation and --split")
        shown: Image | None = read_row(self._suite, self._places_of_suite[question_id])["image"]
        return shown

    @cached_property
    def _suite(self) -> Any:
        assert isinstance(self.asked, Suite)
        return self.asked.rows.select(first_groups(self.asked.rows, self.asked.groups))

    @cached_property
    def _places_of_suite(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self._suite["question_id"])}

    @cached_property
    def _places(self) -> dict[str, dict[str, Any]]:
        return {
            name: {each.question["question_id"]: each for each in loaded.questions}
            for name, loaded in self.benchmarks.items()
        }


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): as_lists(value) for name, value in row.items()}


def _require(same: bool) -> None:
    if not same:
        raise ValueError("the given data show a different picture or text: name the data that were asked")
