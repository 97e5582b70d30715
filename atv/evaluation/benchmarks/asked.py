"""A benchmark's rows as questions: who they are, and batches whose pictures are read when they are asked."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from datasets import Dataset, Image
from PIL.Image import Image as Picture
from transformers import ProcessorMixin

from atv.evaluation.benchmarks.base import Benchmark

_MARK = re.compile(r"<image (\d+)>")


@dataclass(frozen=True)
class Asked:
    """A question in the columns of ``EVALUATION_COLUMNS``, without its pictures, and its row's place."""

    index: int
    question: dict[str, Any]


def asked(benchmark: Benchmark, rows: Dataset, limit: int | None = None) -> list[Asked]:
    """All questions, or those of the first ``limit`` groups (rotations and pairs are one); no picture is decoded.

    Raises:
        ValueError: for a limit under 1, or when there is no question.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    every = list(_asked(benchmark, rows))
    if not every:
        raise ValueError(f"{benchmark.name}: the data hold no question of the benchmark")
    first = list(dict.fromkeys(each.question["group"] for each in every))[:limit]
    chosen = set(first)
    return [each for each in every if each.question["group"] in chosen]


def _asked(benchmark: Benchmark, rows: Dataset) -> Iterator[Asked]:
    seen: Counter[str] = Counter()
    for index, row in enumerate(_undecoded(benchmark, rows)):
        if not benchmark.keep(row):
            continue
        name = _identity(row, benchmark.identity)
        seen[name] += 1
        # Rows that are alike in everything that tells rows apart.
        name = f"{name}#{seen[name]}" if seen[name] > 1 else name
        fields = asdict(benchmark.ask(row))
        fields |= {"question_id": name, "group": fields["group"] or name, "question": fields.pop("text")}
        fields |= {"options": list(fields["options"]), "answers": list(fields["answers"])}
        yield Asked(index, fields | {"task": benchmark.name, "metric": benchmark.metric})


def _undecoded(benchmark: Benchmark, rows: Dataset) -> Dataset:
    plain = rows.with_format(None)
    for column in (name for name, feature in plain.features.items() if isinstance(feature, Image)):
        if column in benchmark.identity:
            plain = plain.cast_column(column, Image(decode=False))
        else:
            plain = plain.remove_columns(column)
    return plain


def _identity(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    values = [_content(row[column]) for column in columns]
    if all(isinstance(value, str | int) for value in values):
        return "/".join(map(str, values))
    return hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()


def _content(value: Any) -> Any:
    """A picture counts by its bytes: its file may be called differently in another copy."""
    return value["bytes"] or value["path"] if isinstance(value, dict) else value


def digest(questions: Sequence[Asked]) -> str:
    """A digest of what is asked and what is right, whatever the order of rows: 16 hexadecimal digits."""
    lines = sorted(json.dumps(each.question, sort_keys=True) for each in questions)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class BenchmarkBatch:
    """A batch of questions whose pictures are read and encoded whenever ``inputs`` is asked for, and not kept."""

    benchmark: Benchmark
    rows: Dataset
    asked: tuple[Asked, ...]
    processor: ProcessorMixin

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The questions, without pictures."""
        return [each.question for each in self.asked]

    @property
    def pictures(self) -> None:
        """Not known: two rows may hold one picture, but no row says so."""
        return None

    @property
    def inputs(self) -> dict[str, Any]:
        """Left-padded prompts.

        Raises:
            ValueError: for a picture that cannot be read, naming its question.
        """
        chats = [user_turn(each.question["question"], self._pictures(each)) for each in self.asked]
        self.processor.tokenizer.padding_side = "left"
        turns: list[Any] = [[{"role": "user", "content": parts}] for parts, _ in chats]
        texts = [self.processor.apply_chat_template(turn, add_generation_prompt=True) for turn in turns]
        shown = [pictures for _, pictures in chats if pictures]
        return dict(self.processor(images=shown or None, text=texts, padding=True, return_tensors="pt"))

    def _pictures(self, each: Asked) -> dict[int, Picture]:
        try:
            pictures = self.benchmark.pictures(self.rows[each.index])
            return {number: picture.convert("RGB") for number, picture in pictures.items()}
        except (OSError, SyntaxError) as error:
            name = each.question["question_id"]
            raise ValueError(f"{self.benchmark.name}: the picture of question {name!r} is broken: {error}") from error


def user_turn(text: str, pictures: Mapping[int, Picture]) -> tuple[list[dict[str, str]], list[Picture]]:
    """The parts of a user turn, and its pictures in their order.

    A picture stands where "<image 1>" first names it; where the text names none, all come first.
    """
    pieces = _MARK.split(text)
    if not any(int(number) in pictures for number in pieces[1::2]):
        parts = [{"type": "image"} for _ in pictures]
        return [*parts, {"type": "text", "text": text}], list(pictures.values())
    left, parts, shown, before = dict(pictures), [], [], pieces[0]
    for number, after in zip(pieces[1::2], pieces[2::2], strict=True):
        if int(number) not in left:
            before += f"<image {number}>{after}"
            continue
        parts += [*_text(before), {"type": "image"}]
        shown.append(left.pop(int(number)))
        before = after
    return [*parts, *_text(before)], shown


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text.strip()}] if text.strip() else []
