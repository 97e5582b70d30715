"""An evaluation set made ready for generation, once for all models that share a vision tower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from datasets import Dataset
from transformers import ProcessorMixin

from atv.data.conversations import encode, read_row, require_columns
from atv.model.lvlm import LVLM

EVALUATION_COLUMNS = (
    "question_id",
    "group",
    "task",
    "metric",
    "category",
    "image",
    "question",
    "options",
    "answer",
    "answers",
)


# On CPUs the temporaries of larger ones outgrow what the allocator keeps, and are mapped anew at every operation.
BATCH_SIZE = 16


class Prompts(Protocol):
    """A batch of questions that can be asked; ``inputs`` may be made when they are."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Left-padded prompts."""

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What they ask, without pictures."""

    def askable(self) -> "QuestionBatch | None":
        """The batch, made, without questions that turn out not to be askable; None where none is."""


@dataclass(frozen=True)
class QuestionBatch:
    """Left-padded prompts, and the questions that they ask (without their pictures)."""

    inputs: dict[str, Any]
    questions: list[dict[str, Any]]

    def askable(self) -> "QuestionBatch":
        """Itself: it was made of questions that can be asked."""
        return self


def question_batches(
    processor: ProcessorMixin, dataset: Dataset, batch_size: int = BATCH_SIZE, groups: int | None = None
) -> list[QuestionBatch]:
    """The questions in batches of like length, for little padding.

    Args:
        dataset: see ``EVALUATION_COLUMNS``; the bundled sets have them.
        groups: of each task, only the first so many groups.

    Raises:
        ValueError: for missing columns or a picture that cannot be read.
    """
    require_columns(dataset, EVALUATION_COLUMNS, "evaluation data")
    chosen = _first_groups(dataset, groups)
    lengths = {index: len(text.split()) for index, text in zip(chosen, dataset.select(chosen)["question"], strict=True)}
    chosen.sort(key=lambda index: lengths[index])
    processor.tokenizer.padding_side = "left"
    parts = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
    return [_batch(processor, [read_row(dataset, index) for index in part]) for part in parts]


def _first_groups(dataset: Dataset, groups: int | None) -> list[int]:
    seen: dict[str, dict[str, None]] = {}
    chosen = []
    for index, (task, group) in enumerate(zip(dataset["task"], dataset["group"], strict=True)):
        of_task = seen.setdefault(task, {})
        if group in of_task or groups is None or len(of_task) < groups:
            of_task[group] = None
            chosen.append(index)
    return chosen


def _batch(processor: ProcessorMixin, rows: Sequence[Mapping[str, Any]]) -> QuestionBatch:
    turns = [[{"role": "user", "text": row["question"]}] for row in rows]
    inputs = encode(processor, turns, [row["image"] for row in rows], prompt=True)
    return QuestionBatch(inputs, [{key: value for key, value in row.items() if key != "image"} for row in rows])


@torch.no_grad()
def see_once(lvlm: LVLM, batches: Sequence[QuestionBatch]) -> list[QuestionBatch]:
    """The batches with the vision tower's outputs in place of pixels, for models that differ in the decoder alone."""
    return [QuestionBatch(lvlm.encode_images(batch.inputs), batch.questions) for batch in batches]
