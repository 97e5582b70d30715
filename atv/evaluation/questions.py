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
# The field by which questions about the same picture are found. Questions are compared without it, because ``seen``
# already covers everything that a model is given.
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
    questions = dataset.select(first_groups(dataset, groups))
    processor.tokenizer.padding_side = "left"
    index_batches = parted([len(text.split()) for text in questions["question"]], _pictures(questions), batch_size)
    return [
        _batch(processor, [read_row(questions, index) for index in row_indices], picture_indices)
        for row_indices, picture_indices in index_batches
    ]


def parted(
    lengths: Sequence[int], pictures: Sequence[str | None], batch_size: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields batches: the indices of questions, and which of the batch's pictures each is about ([] if none is shared).

    Args:
        lengths: length of each question, in any unit.
        pictures: identifier of each question's picture; None if it has none.
        batch_size: pictures per batch, or questions per batch if no picture is shared; 1 asks every question by itself.
    """
    question_counts: Counter[str | None] = Counter(
        picture for picture in pictures if picture is not None and batch_size > 1
    )
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    unshared = [index for index in order if question_counts[pictures[index]] < 2]
    yield from ((unshared[start : start + batch_size], []) for start in range(0, len(unshared), batch_size))
    by_picture: dict[str | None, list[int]] = {}
    for index in order:
        if question_counts[pictures[index]] > 1:
            by_picture.setdefault(pictures[index], []).append(index)
    for batch in _picture_batches(sorted(by_picture.values(), key=lambda indices: lengths[indices[-1]]), batch_size):
        yield (
            [index for indices in batch for index in indices],
            [picture_index for picture_index, indices in enumerate(batch) for _ in indices],
        )


def _picture_batches(by_picture: Sequence[list[int]], batch_size: int) -> Iterator[list[list[int]]]:
    """Yields batches of pictures, each picture as the indices of its questions."""
    max_questions, max_pictures = QUESTIONS_A_PICTURE * batch_size, min(FIRST_PICTURES, batch_size)
    chunks = [
        indices[start : start + max_questions]
        for indices in by_picture
        for start in range(0, len(indices), max_questions)
    ]
    batch: list[list[int]] = []
    for indices in chunks:
        if batch and (len(batch) == max_pictures or sum(map(len, batch)) + len(indices) > max_questions):
            yield batch
            batch, max_pictures = [], batch_size
        batch.append(indices)
    if batch:
        yield batch


def _pictures(dataset: Dataset) -> list[str | None]:
    """Returns an identifier of each picture, without decoding it; None if there is no picture or it is not known."""
    if not isinstance(dataset.features["image"], Image):
        return [None] * len(dataset)
    undecoded = dataset.cast_column("image", Image(decode=False))["image"]
    return [None if cell is None else _digest(cell["bytes"] or str(cell["path"]).encode()) for cell in undecoded]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def first_groups(dataset: Dataset, groups: int | None) -> list[int]:
    """Returns the indices of the rows in the first ``groups`` groups of each task; None selects all."""
    groups_by_task: dict[str, dict[str, None]] = {}
    row_indices = []
    for index, (task, group) in enumerate(zip(dataset["task"], dataset["group"], strict=True)):
        task_groups = groups_by_task.setdefault(task, {})
        if group in task_groups or groups is None or len(task_groups) < groups:
            task_groups[group] = None
            row_indices.append(index)
    return row_indices


def _batch(processor: ProcessorMixin, rows: Sequence[Mapping[str, Any]], picture_of_row: list[int]) -> QuestionBatch:
    inputs = _encoded(processor, rows)
    questions = [
        {key: value for key, value in row.items() if key != "image"} | picture_fields(row["image"]) for row in rows
    ]
    if not picture_of_row:
        return QuestionBatch(inputs, questions)
    first_rows = [rows[picture_of_row.index(picture)] for picture in sorted(set(picture_of_row))]
    return QuestionBatch(inputs, questions, Pictures(_encoded(processor, first_rows), picture_of_row))


def _encoded(processor: ProcessorMixin, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    turns = [[{"role": "user", "text": row["question"]}] for row in rows]
    return encode(processor, turns, [row["image"] for row in rows], prompt=True)


def seen_picture(image: Any) -> str:
    """Returns a digest of a picture, or of none, because a question's id and text do not identify its picture."""
    content = b"" if image is None else f"{image.mode}{image.size}".encode() + image.tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def picture_fields(image: Any) -> dict[str, str]:
    """Returns a question's fields that identify its picture: ``seen``, and ``picture``, which is "" for no picture."""
    digest = seen_picture(image)
    return {"seen": digest, "picture": "" if image is None else digest}


@torch.no_grad()
def see_once(lvlm: LVLM, batches: Sequence[QuestionBatch]) -> list[QuestionBatch]:
    """Replaces pixels with the vision tower's outputs in all batches, for models that differ only in the decoder."""
    return [_batch_with_encoded_pictures(lvlm, batch) for batch in batches]


def _batch_with_encoded_pictures(lvlm: LVLM, batch: QuestionBatch) -> QuestionBatch:
    if batch.pictures is None:
        return batch._replace(inputs=with_encoded_pictures(lvlm, batch.inputs))
    pictures = batch.pictures._replace(inputs=with_encoded_pictures(lvlm, batch.pictures.inputs))
    return batch._replace(
        inputs=with_shared_pictures(batch.inputs, pictures.inputs, pictures.picture_of_row), pictures=pictures
    )
