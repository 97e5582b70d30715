"""Questions of benchmarks and suites as calibration data, and checks that an evaluation does not ask the same ones."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import mode
from typing import Any

from datasets import Dataset

from atv.bundled import BUNDLED
from atv.data import CalibrationData, Conversation, IndexedData, Picture
from atv.data.conversations import read_row, require_columns
from atv.data.pictures import decode
from atv.data.sources import load_evaluation
from atv.data.turns import MARKER
from atv.evaluation.benchmarks.asked import user_turn
from atv.evaluation.benchmarks.base import Benchmark
from atv.evaluation.benchmarks.loaded import LoadedBenchmark, load_benchmark
from atv.evaluation.questions import EVALUATION_COLUMNS, first_groups, seen_picture
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.plugins import resolve, subclasses
from atv.records.report_origin import recorded_samples

SUITES = {BUNDLED: "test", EVERYDAY: "test"}  # with the split that an evaluation asks by default
OWN_SPLIT = "dev"  # the default split of a suite as calibration data


class BenchmarkQuestions(IndexedData):
    """Questions of a benchmark or a suite with their pictures, worded as the model is asked them, without answers.

    Args:
        benchmark: a class such as MMBench, "bundled", "everyday", or the folder of a data set with a suite's columns.
        split: split of the data. Default: dev for a suite; for a benchmark, the split that an evaluation asks.
        data: for a benchmark, the folder with a local copy of its data. Default: downloaded from the hub.
        tasks: for a suite, use only the questions of these tasks.
        groups: use only this many groups of questions, the first ones of each task or benchmark.
        overlap: whether questions may be used that an evaluation also asks.
    """

    answered = False

    def __init__(
        self,
        benchmark: str,
        split: str | None = None,
        data: Path | str | None = None,
        tasks: list[str] | None = None,
        groups: int | None = None,
        overlap: bool = False,
    ) -> None:
        self.benchmark, self.split, self.data = benchmark, split, data
        self.tasks, self.groups, self.overlap = tasks, groups, overlap

    def check(self) -> None:
        """Checks the options and the data.

        Raises:
            ValueError: for the split that an evaluation asks, unless ``overlap`` allows it; for options that only a
                suite or only a benchmark has; and for data that cannot be found or read.
        """
        unsupported_option = ("data", self.data) if self._is_suite else ("tasks", self.tasks)
        if unsupported_option[1] is not None:
            source_kind = "a suite" if self._is_suite else "a benchmark"
            raise ValueError(
                f"calibration.{unsupported_option[0]}: {self.benchmark!r} is {source_kind}, which does not take "
                "this option"
            )
        evaluated_split = SUITES.get(self.benchmark) if self._is_suite else self._benchmark.split
        if not self.overlap and evaluated_split is not None and self._own_split == evaluated_split:
            raise ValueError(
                f"calibration.split: {evaluated_split!r} of {self.benchmark} is what an evaluation asks; choose "
                "another split or set --calibration.overlap true"
            )
        super().check()

    def __len__(self) -> int:
        return len(self._questions)

    def read(self, index: int) -> Conversation:
        question = self._questions[index]
        text, pictures = self._shown(index)
        turns = [{"role": "user", "text": text}]
        if self.answered:
            turns.append({"role": "assistant", "text": _answer(question)})
        return Conversation(question["question_id"], turns, pictures)

    def asked_again(self, questions: Sequence[Mapping[str, Any]]) -> list[str]:
        """Returns the ids of its questions that are among ``questions``, in the same words about the same picture.

        Args:
            questions: questions as an evaluation asks them; ``seen`` is the digest of what is shown.
        """
        seen_by_text: dict[str, set[str]] = {}
        for question in questions:
            seen_by_text.setdefault(question["question"], set()).add(question.get("seen", ""))
        return [
            own_question["question_id"]
            for index, own_question in enumerate(self._questions)
            if own_question["question"] in seen_by_text and self._seen(index) in seen_by_text[own_question["question"]]
        ]

    @property
    def _is_suite(self) -> bool:
        # A folder with the name of a benchmark may be a local copy of its data.
        benchmarks = {kind.__name__ for kind in subclasses(Benchmark)}
        return self.benchmark in SUITES or (self.benchmark not in benchmarks and Path(self.benchmark).is_dir())

    @property
    def _own_split(self) -> str:
        return self.split or (OWN_SPLIT if self._is_suite else self._benchmark.split)

    @property
    def _benchmark(self) -> Benchmark:
        return resolve(self.benchmark, Benchmark, "calibration.benchmark")

    @cached_property
    def _loaded(self) -> LoadedBenchmark:
        benchmark = self._benchmark
        benchmark.split = self._own_split
        return load_benchmark(benchmark, None if self.data is None else Path(self.data), self.groups)

    @cached_property
    def _suite(self) -> Dataset:
        rows = load_evaluation(self.benchmark, self._own_split, self.groups)
        require_columns(rows, EVALUATION_COLUMNS, f"calibration.benchmark: {self.benchmark!r}")
        rows = rows.select(first_groups(rows, self.groups))
        if self.tasks is None:
            return rows
        if unknown_tasks := sorted(set(self.tasks) - set(rows["task"])):
            choices = ", ".join(dict.fromkeys(rows["task"]))
            raise ValueError(f"calibration.tasks: unknown {', '.join(unknown_tasks)}. Choices: {choices}")
        return rows.select([index for index, task in enumerate(rows["task"]) if task in self.tasks])

    @cached_property
    def _questions(self) -> list[dict[str, Any]]:
        """The questions, with the columns of ``EVALUATION_COLUMNS`` except the picture."""
        if self._is_suite:
            return self._suite.remove_columns("image").to_list()
        return [entry.question for entry in self._loaded.questions]

    def _shown(self, index: int) -> tuple[str, list[Picture]]:
        """Returns the user's turn, with a marker in place of each picture, and the pictures."""
        if self._is_suite:
            row = read_row(self._suite, index)
            return row["question"], [] if row["image"] is None else [row["image"]]
        loaded, entry = self._loaded, self._loaded.questions[index]
        pictures = loaded.benchmark.pictures(loaded.rows[entry.index])
        decoded = {number: decode(picture, loaded.root) for number, picture in pictures.items()}
        parts, ordered_pictures = user_turn(entry.question["question"], decoded)
        return "".join(MARKER if part["type"] == "image" else part["text"] for part in parts), list(ordered_pictures)

    def _seen(self, index: int) -> str:
        return seen_picture(read_row(self._suite, index)["image"]) if self._is_suite else self._questions[index]["seen"]


class BenchmarkAnswers(BenchmarkQuestions):
    """Like ``BenchmarkQuestions``, but with the correct answer to each question, or people's most frequent one."""

    answered = True


def _answer(question: Mapping[str, Any]) -> str:
    if question["answer"] or question["answers"]:
        return question["answer"] or mode(question["answers"])
    raise ValueError("the data have no answer to it")


def refuse_overlap(data: CalibrationData, questions: Sequence[Mapping[str, Any]]) -> None:
    """Checks that no question is both calibrated on and asked, unless its source allows it.

    Raises:
        ValueError: naming the source, how many of its questions are asked, and the first of them.
    """
    for source in data.origins():
        if not isinstance(source, BenchmarkQuestions) or source.overlap:
            continue
        if repeated_ids := source.asked_again(questions):
            raise ValueError(
                f"calibration: {len(repeated_ids):,} of the {len(source):,} questions of {source.benchmark} are also "
                f"asked in the evaluation, such as {repeated_ids[0]!r}; choose another split or set overlap to true"
            )


def refuse_calibrated_on(folder: Path, evaluation: str, split: str) -> None:
    """Checks that a model was not pruned, fine-tuned or quantized with questions of the suite that it is to be asked.

    Args:
        folder: the model's folder; one without records passes.
        split: the split of "bundled" or "everyday"; a saved suite has no splits.

    Raises:
        ValueError: if it was, and its source did not allow it.
    """
    class_names = {kind.__name__ for kind in (BenchmarkQuestions, BenchmarkAnswers)}
    asked_suite, field = _suite_identity(evaluation, split), "split" if evaluation in SUITES else "evaluation"
    for source in _records(recorded_samples(folder)):
        if str(source.get("class")) not in class_names or source.get("overlap"):
            continue
        if _suite_identity(str(source.get("benchmark")), source.get("split") or OWN_SPLIT) == asked_suite:
            raise ValueError(
                f"{field}: {str(folder)!r} was calibrated on questions of {', '.join(asked_suite)}; choose another "
                f"{field}, or make the model with --calibration.overlap true"
            )


def _suite_identity(suite: str, split: str) -> tuple[str, ...]:
    """Returns what tells suites apart: name and split, or the folder of a saved suite, which has no splits."""
    return (suite, split) if suite in SUITES else (str(Path(suite).resolve()),)


def _records(data: Any) -> Iterator[Mapping[str, Any]]:
    """Yields a source's record, and the records of the sources that it is made of."""
    if isinstance(data, list):
        for element in data:
            yield from _records(element)
    elif isinstance(data, Mapping):
        yield data
        yield from _records(list(data.values()))
