"""Prepares evaluation sets for generation, once for all models that share a vision tower."""

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
# The field by which questions about the same picture are found. It does not count when questions are compared: what a
# model is given is covered by ``seen``, which does.
PICTURE_ALONE = frozenset({"picture"})

# On CPUs, the temporaries of larger batches outgrow what the allocator keeps, and are mapped again at every operation.
BATCH_SIZE = 16
# Maximum length, in tokens, of an answer to a suite's question if none is given; correct answers have one to three
# words. Cells of ablations cut answers to the same questions after 8 tokens (atv.ablation.bench). That number is part
# of their ids, and this one is part of how every evaluation on disk says it asked, so they cannot be made equal.
MAX_NEW_TOKENS = 16
# A batch whose questions share pictures may hold this many times ``batch_size`` questions: they are short.
QUESTIONS_A_PICTURE = 4
# The first batch with shared pictures has only this many, because its questions are answered both ways to check that
# the answers are the same.
FIRST_PICTURES = 2


class Prompts(Protocol):
    """A batch of questions that can be asked; it may be built only when it is asked."""

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The questions, without pictures."""

    def askable(self) -> "QuestionBatch | None":
        """Builds the batch without the questions that turn out not to be askable; returns None if none is left."""


# A tuple, because Lightning's precision plugins rebuild what a batch is made of, and reject frozen dataclasses.
class QuestionBatch(NamedTuple):
    """Left-padded prompts, their questions (without pictures), and the pictures that they share."""

    inputs: dict[str, Any]
    questions: list[dict[str, Any]]
    pictures: Pictures | None = None

    def askable(self) -> "QuestionBatch":
        """Returns itself, because it was built from questions that can be asked."""
        return self


def question_batches(
    processor: ProcessorMixin, dataset: Dataset, batch_size: int = BATCH_SIZE, groups: int | None = None
) -> list[QuestionBatch]:
    """Batches questions of similar length, to limit padding; questions about one picture are kept together.

    Args:
        dataset: must have the columns ``EVALUATION_COLUMNS``, as the bundled sets do.
        batch_size: pictures per batch, each with several questions; 1 asks every question by itself, which tokenizers
            that cannot pad require.
        groups: use only the first ``groups`` groups of each task; None uses all.

    Raises:
        ValueError: if columns are missing or a picture cannot be read.
    """
    require_columns(dataset, EVALUATION_COLUMNS, "evaluation data")
    chosen = dataset.select(first_groups(dataset, groups))
    processor.tokenizer.padding_side = "left"
    parts = parted([len(text.split()) for text in chosen["question"]], _pictures(chosen), batch_size)
    return [_batch(processor, [read_row(chosen, index) for index in rows], of) for rows, of in parts]


def parted(
    lengths: Sequence[int], pictures: Sequence[str | None], batch_size: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields batches: the indices of questions, and which of the batch's pictures each is about ([] if none is shared).

    Args:
        lengths: length of each question, in any unit.
        pictures: identifier of each question's picture; None if it has none.
        batch_size: pictures per batch, or questions per batch if no picture is shared; 1 asks every question by itself.
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
    """Yields batches of pictures, each picture as the indices of its questions."""
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
    """Returns an identifier of each picture, without decoding it; None if there is no picture or it is not known."""
    if not isinstance(dataset.features["image"], Image):
        return [None] * len(dataset)
    stored = dataset.cast_column("image", Image(decode=False))["image"]
    return [None if one is None else _digest(one["bytes"] or str(one["path"]).encode()) for one in stored]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def first_groups(dataset: Dataset, groups: int | None) -> list[int]:
    """Returns the indices of the rows in the first ``groups`` groups of each task; None selects all."""
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
    """Returns a digest of a picture, or of none, because a question's id and text do not identify its picture."""
    content = b"" if image is None else f"{image.mode}{image.size}".encode() + image.tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def seen(image: Any) -> dict[str, str]:
    """Returns a question's fields that identify its picture: ``seen``, and ``picture``, which is "" for no picture."""
    digest = seen_picture(image)
    return {"seen": digest, "picture": "" if image is None else digest}


@torch.no_grad()
def see_once(lvlm: LVLM, batches: Sequence[QuestionBatch]) -> list[QuestionBatch]:
    """Replaces pixels with the vision tower's outputs in all batches, for models that differ only in the decoder."""
    return [_behind_the_tower(lvlm, batch) for batch in batches]


def _behind_the_tower(lvlm: LVLM, batch: QuestionBatch) -> QuestionBatch:
    if batch.pictures is None:
        return batch._replace(inputs=with_encoded_pictures(lvlm, batch.inputs))
    pictures = batch.pictures._replace(inputs=with_encoded_pictures(lvlm, batch.pictures.inputs))
    return batch._replace(inputs=with_shared_pictures(batch.inputs, pictures.inputs, pictures.of), pictures=pictures)
