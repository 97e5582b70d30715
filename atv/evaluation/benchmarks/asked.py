"""A benchmark's rows as questions: what identifies them, and batches whose pictures are read when they are asked."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, Image
from PIL.Image import Image as Picture
from transformers import ProcessorMixin

from atv.data.conversations import encode_chats
from atv.data.pictures import decode
from atv.data.wording import quoted, reason, short
from atv.evaluation.benchmarks.base import Benchmark
from atv.evaluation.benchmarks.row_pictures import PICTURE_DIGEST, question_digests
from atv.evaluation.metrics import GroupedScore
from atv.evaluation.questions import PICTURE_ALONE, QuestionBatch
from atv.plugins import at_least, resolve
from atv.records.digests import without_origin

_MARK = re.compile(r"<image (\d+)>")


@dataclass(frozen=True)
class QuestionRow:
    """A question with the columns of ``EVALUATION_COLUMNS``, without its pictures, and the index of its row.

    The column ``seen`` is a digest of what the model is given, text and pictures; ``picture`` is a digest of the
    pictures alone, "" if there are none.
    """

    index: int
    question: dict[str, Any]


def question_rows(
    benchmark: Benchmark, rows: Dataset, limit: int | None = None, root: Path | None = None
) -> list[QuestionRow]:
    """Returns all questions, or those of the first ``limit`` groups (rotations and pairs count as one).

    No picture is decoded.

    Args:
        root: folder that relative paths to pictures start from.

    Raises:
        ValueError: if ``limit`` is below 1, if there is no question, or if a row cannot be asked or scored; the message
            names the row and the column.
    """
    at_least(1, limit=limit)
    entries = list(_checked_rows(benchmark, rows))
    if not entries:
        raise ValueError(f"{benchmark.name}: the data hold no questions of the benchmark")
    first_groups = set(list(dict.fromkeys(entry.question["group"] for entry in entries))[:limit])
    selected = [entry for entry in entries if entry.question["group"] in first_groups]
    row_indices, texts = [entry.index for entry in selected], [entry.question["question"] for entry in selected]
    digests = question_digests(rows, row_indices, texts, (*benchmark.picture_columns, PICTURE_DIGEST), root)
    return [
        QuestionRow(entry.index, entry.question | digest_fields)
        for entry, digest_fields in zip(selected, digests, strict=True)
    ]


def _checked_rows(benchmark: Benchmark, rows: Dataset) -> Iterator[QuestionRow]:
    name_counts: Counter[str] = Counter()
    score = resolve(benchmark.metric, GroupedScore, "metric")
    for index, row in enumerate(_undecoded(benchmark, rows)):
        try:
            if not benchmark.keep(row):
                continue
            name = _identity(row, benchmark.identity)
            name_counts[name] += 1
            # Number rows that agree in everything that tells rows apart.
            name = f"{name}#{name_counts[name]}" if name_counts[name] > 1 else name
            question = _fields(benchmark, row, name)
            # A question that cannot be scored must be found now, not after all questions have been asked.
            score.credit("", question)
        except Exception as error:  # The row's content is foreign, and the benchmark may be a plug-in's.
            raise ValueError(f"{benchmark.name}: row {index} cannot be asked: {reason(error)}") from error
        yield QuestionRow(index, question)


def _fields(benchmark: Benchmark, row: Mapping[str, Any], name: str) -> dict[str, Any]:
    fields = asdict(benchmark.ask(row))
    fields |= {"question_id": name, "group": fields["group"] or name, "question": fields.pop("text")}
    fields |= {"options": list(fields["options"]), "answers": list(fields["answers"])}
    for key, value in fields.items():
        if not all(isinstance(entry, str) for entry in (value if isinstance(value, list) else [value])):
            raise ValueError(f"its {key} is {quoted(value)}; expected text")
    return fields | {"task": benchmark.name, "metric": benchmark.metric}


def _undecoded(benchmark: Benchmark, rows: Dataset) -> Dataset:
    undecoded = rows.with_format(None)
    for column in (name for name, feature in undecoded.features.items() if isinstance(feature, Image)):
        if column in benchmark.identity:
            undecoded = undecoded.cast_column(column, Image(decode=False))
        else:
            undecoded = undecoded.remove_columns(column)
    return undecoded


def _identity(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    if all(row[column] is None for column in columns):
        raise ValueError(f"column {columns[0]!r} is null, but is needed to tell rows apart")
    values = [_content(row[column]) for column in columns]
    if all(isinstance(value, str | int) for value in values):
        return "/".join(map(str, values))
    return hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()


def _content(value: Any) -> Any:
    """Identifies a picture by its bytes, because its file may have a different name in another copy."""
    return value["bytes"] or value["path"] if isinstance(value, dict) and value.keys() == {"bytes", "path"} else value


def digest(questions: Sequence[QuestionRow]) -> str:
    """Returns a digest of questions and correct answers, independent of the order of rows: 16 hexadecimal digits."""
    lines = sorted(json.dumps(without_origin(entry.question, PICTURE_ALONE), sort_keys=True) for entry in questions)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class BenchmarkBatch:
    """A batch of questions whose pictures are read and encoded whenever ``inputs`` is accessed, and not kept.

    ``root`` is the folder that relative paths to pictures start from. ``faults`` says why a question could not be
    asked, by its id; all batches of a benchmark share it.
    """

    benchmark: Benchmark
    rows: Dataset
    entries: tuple[QuestionRow, ...]
    processor: ProcessorMixin
    root: Path | None = None
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The questions, without pictures."""
        return [entry.question for entry in self.entries]

    @property
    def inputs(self) -> dict[str, Any]:
        """Left-padded prompts.

        Raises:
            Exception: whatever a picture, the template or the processor raises for a question.
        """
        self.processor.tokenizer.padding_side = "left"
        turns = [user_turn(entry.question["question"], self._pictures(entry)) for entry in self.entries]
        chats = [[{"role": "user", "content": parts}] for parts, _ in turns]
        return encode_chats(self.processor, chats, [pictures for _, pictures in turns], prompt=True)

    def askable(self) -> QuestionBatch | None:
        """Returns the encoded batch without the questions that cannot be asked, or None if none is left.

        ``faults`` then names the questions that cannot be asked.

        Raises:
            ValueError: if the fault is in the model's folder, or the questions can be encoded only one by one.
        """
        try:
            return QuestionBatch(self.inputs, self.questions)
        except Exception as error:  # Templates and processors may raise anything.
            if str(error).startswith("model: "):
                raise
            if len(self.entries) == 1:
                self.faults[self.entries[0].question["question_id"]] = reason(error)
                return None
        single_batches = [replace(self, entries=(entry,)) for entry in self.entries]
        askable = tuple(batch.entries[0] for batch in single_batches if batch.askable() is not None)
        if len(askable) == len(self.entries):
            names = short(", ".join(repr(entry.question["question_id"]) for entry in self.entries))
            raise ValueError(f"{self.benchmark.name}: {names} cannot be asked together; use --batch_size 1")
        return replace(self, entries=askable).askable() if askable else None

    def _pictures(self, entry: QuestionRow) -> dict[int, Picture]:
        try:
            pictures = self.benchmark.pictures(self.rows[entry.index])
        except (OSError, SyntaxError) as error:
            raise ValueError(f"its picture cannot be read: {reason(error)}") from error
        return {number: decode(picture, self.root) for number, picture in pictures.items()}


def user_turn(text: str, pictures: Mapping[int, Picture]) -> tuple[list[dict[str, str]], list[Picture]]:
    """Returns the parts of a user turn, and its pictures in order.

    A picture appears where "<image 1>" first names it; if the text names no picture, all of them come first.
    """
    pieces = _MARK.split(text)
    if not any(int(number) in pictures for number in pieces[1::2]):
        parts = [{"type": "image"} for _ in pictures]
        return [*parts, {"type": "text", "text": text}], list(pictures.values())
    unplaced, parts, ordered_pictures, text_before = dict(pictures), [], [], pieces[0]
    for number, text_after in zip(pieces[1::2], pieces[2::2], strict=True):
        if int(number) not in unplaced:
            text_before += f"<image {number}>{text_after}"
            continue
        parts += [*_text_parts(text_before), {"type": "image"}]
        ordered_pictures.append(unplaced.pop(int(number)))
        text_before = text_after
    return [*parts, *_text_parts(text_before)], ordered_pictures


def _text_parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text.strip()}] if text.strip() else []
