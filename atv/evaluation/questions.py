"""An evaluation set made ready for generation, once for all models that share a vision tower."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from datasets import Dataset, Image
from transformers import ProcessorMixin

from atv.bundled.data import EVALUATION_FEATURES
from atv.data.conversations import encode, read_row, require_columns
from atv.evaluation.encoded_pictures import with_encoded_pictures, with_shared_pictures
from atv.evaluation.sharing import Pictures
from atv.model.lvlm import LVLM

EVALUATION_COLUMNS = tuple(EVALUATION_FEATURES)
# A question's field by which others about its picture are found; what a model is given is in ``seen``, which counts.
PICTURE_ALONE = frozenset({"picture"})

# On CPUs the temporaries of larger ones outgrow what the allocator keeps, and are mapped anew at every operation.
BATCH_SIZE = 16
# Tokens of the longest answer to a question of a suite where none is named; right answers are one to three words.
# Cells of ablations cut theirs after 8 (atv.ablation.bench) for the same questions: that number is part of their ids,
# and this one of how every evaluation on disk says it asked, so neither can become the other.
MAX_NEW_TOKENS = 16
# Questions that may be asked at once about as many pictures as a batch has prompts: they are short.
QUESTIONS_A_PICTURE = 4
# So few pictures are asked about first, since their questions are answered both ways, to see that it is the same.
FIRST_PICTURES = 2


class Prompts(Protocol):
    """A batch of questions that can be asked; it may be made only then."""

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What they ask, without pictures."""

    def askable(self) -> "QuestionBatch | None":
        """The batch, made, without questions that turn out not to be askable; None where none is."""


# Tuples, since Lightning's precisions rebuild what a batch is made of, and refuse frozen dataclasses.
class QuestionBatch(NamedTuple):
    """Left-padded prompts, the questions that they ask (without their pictures), and pictures that they share."""

    inputs: dict[str, Any]
    questions: list[dict[str, Any]]
    pictures: Pictures | None = None

    def askable(self) -> "QuestionBatch":
        """Itself: it was made of questions that can be asked."""
        return self


def question_batches(
    processor: ProcessorMixin, dataset: Dataset, batch_size: int = BATCH_SIZE, groups: int | None = None
) -> list[QuestionBatch]:
    """The questions in batches of like length, for little padding; all about one picture together.

    Args:
        dataset: see ``EVALUATION_COLUMNS``; the bundled sets have them.
        batch_size: pictures at once, of each several questions; 1 asks every question by itself, as tokenizers that
            cannot pad need it.
        groups: of each task, only the first so many groups.

    Raises:
        ValueError: for missing columns or a picture that cannot be read.
    """
    require_columns(dataset, EVALUATION_COLUMNS, "evaluation data")
    chosen = dataset.select(first_groups(dataset, groups))
    processor.tokenizer.padding_side = "left"
    parts = parted([len(text.split()) for text in chosen["question"]], _pictures(chosen), batch_size)
    return [_batch(processor, [read_row(chosen, index) for index in rows], of) for rows, of in parts]


def parted(
    lengths: Sequence[int], pictures: Sequence[str | None], batch_size: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Batches of questions: their places, and which of the batch's pictures each is about, where any is shared.

    Args:
        lengths: of the questions, in any unit.
        pictures: what identifies each question's picture, None where it has none.
        batch_size: pictures at once, or questions about pictures of their own; 1 asks every question by itself.
    """
    asked: Counter[str | None] = Counter(picture for picture in pictures if picture is not None and batch_size > 1)
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    alone = [place for place in order if asked[pictures[place]] < 2]
    yield from ((alone[start : start + batch_size], []) for start in range(0, len(alone), batch_size))
    together: dict[str | None, list[int]] = {}
    for place in order:
        if asked[pictures[place]] > 1:
            together.setdefault(pictures[place], []).append(place)
    for batch in _filled(sorted(together.values(), key=lambda places: lengths[places[-1]]), batch_size):
        yield [place for places in batch for place in places], [n for n, places in enumerate(batch) for _ in places]


def _filled(together: Sequence[list[int]], batch_size: int) -> Iterator[list[list[int]]]:
    """Batches of pictures, each with the places of its questions."""
    rows, most = QUESTIONS_A_PICTURE * batch_size, min(FIRST_PICTURES, batch_size)
    parts = [places[start : start + rows] for places in together for start in range(0, len(places), rows)]
    batch: list[list[int]] = []
    for places in parts:
        if batch and (len(batch) == most or sum(map(len, batch)) + len(places) > rows):
            yield batch
            batch, most = [], batch_size
        batch.append(places)
    if batch:
        yield batch


def _pictures(dataset: Dataset) -> list[str | None]:
    """What tells the pictures apart, without decoding them; None where there is none, or it is not known."""
    if not isinstance(dataset.features["image"], Image):
        return [None] * len(dataset)
    stored = dataset.cast_column("image", Image(decode=False))["image"]
    return [None if one is None else _digest(one["bytes"] or str(one["path"]).encode()) for one in stored]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def first_groups(dataset: Dataset, groups: int | None) -> list[int]:
    """Rows of the first so many groups of each task; None is all."""
    seen: dict[str, dict[str, None]] = {}
    chosen = []
    for index, (task, group) in enumerate(zip(dataset["task"], dataset["group"], strict=True)):
        of_task = seen.setdefault(task, {})
        if group in of_task or groups is None or len(of_task) < groups:
            of_task[group] = None
            chosen.append(index)
    return chosen


def _batch(processor: ProcessorMixin, rows: Sequence[Mapping[str, Any]], of: list[int]) -> QuestionBatch:
    inputs = _encoded(processor, rows)
    questions = [{key: value for key, value in row.items() if key != "image"} | seen(row["image"]) for row in rows]
    if not of:
        return QuestionBatch(inputs, questions)
    first = [rows[of.index(picture)] for picture in sorted(set(of))]
    return QuestionBatch(inputs, questions, Pictures(_encoded(processor, first), of))


def _encoded(processor: ProcessorMixin, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    turns = [[{"role": "user", "text": row["question"]}] for row in rows]
    return encode(processor, turns, [row["image"] for row in rows], prompt=True)


def seen_picture(image: Any) -> str:
    """A digest of a picture, or of none: its question's id and text do not tell it."""
    content = b"" if image is None else f"{image.mode}{image.size}".encode() + image.tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def seen(image: Any) -> dict[str, str]:
    """A question's fields of what is shown with it: ``seen``, and ``picture``, which is "" for none."""
    digest = seen_picture(image)
    return {"seen": digest, "picture": "" if image is None else digest}


@torch.no_grad()
def see_once(lvlm: LVLM, batches: Sequence[QuestionBatch]) -> list[QuestionBatch]:
    """The batches with the vision tower's outputs in place of pixels, for models that differ in the decoder alone."""
    return [_behind_the_tower(lvlm, batch) for batch in batches]


def _behind_the_tower(lvlm: LVLM, batch: QuestionBatch) -> QuestionBatch:
    if batch.pictures is None:
        return batch._replace(inputs=with_encoded_pictures(lvlm, batch.inputs))
    pictures = batch.pictures._replace(inputs=with_encoded_pictures(lvlm, batch.pictures.inputs))
    return batch._replace(inputs=with_shared_pictures(batch.inputs, pictures.inputs, pictures.of), pictures=pictures)
