"""Pictures and conversations as the processor's own chat template wants them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image
from transformers import ProcessorMixin

CALIBRATION_COLUMNS = ("image", "conversation")


def messages(conversation: Sequence[Mapping[str, str]], image: Image.Image | None) -> list[dict[str, Any]]:
    """Chat messages; the picture, if any, comes first in the first turn."""
    turns: list[dict[str, Any]] = [
        {"role": turn["role"], "content": [{"type": "text", "text": turn["text"]}]} for turn in conversation
    ]
    if image is not None:
        turns[0]["content"].insert(0, {"type": "image"})
    return turns


def encode(
    processor: ProcessorMixin,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    images: Sequence[Image.Image | None],
    prompt: bool = False,
) -> dict[str, Any]:
    """The processor's tensors for a batch of conversations, padded; ``prompt`` opens the assistant's turn."""
    texts = [
        processor.apply_chat_template(messages(turns, image), add_generation_prompt=prompt)
        for turns, image in zip(conversations, images, strict=True)
    ]
    present = [[image.convert("RGB")] for image in images if image is not None]
    return dict(processor(images=present or None, text=texts, padding=True, return_tensors="pt"))


def require_columns(dataset: Dataset, columns: Sequence[str], field: str) -> None:
    """Checks a data set's columns.

    Raises:
        ValueError: naming the missing columns and those that are there.
    """
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"{field}: missing columns {', '.join(missing)}; there are {', '.join(dataset.column_names)}")


def calibration_batches(
    processor: ProcessorMixin, dataset: Dataset, samples: int = 128, seed: int = 0, batch_size: int = 8
) -> list[dict[str, Any]]:
    """``samples`` conversations drawn by ``seed``, encoded in batches.

    Raises:
        ValueError: as ``drawn_rows`` does.
    """
    return encoded_rows(processor, drawn_rows(dataset, samples, seed), batch_size)


def encoded_rows(processor: ProcessorMixin, rows: Sequence[Mapping[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Rows with the calibration columns, encoded in batches."""
    return [
        encode(processor, [row["conversation"] for row in part], [row["image"] for row in part])
        for part in (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    ]


def drawn_rows(dataset: Dataset, samples: int = 128, seed: int = 0) -> list[dict[str, Any]]:
    """The rows of ``samples`` conversations drawn by ``seed``, in the order of the draw, pictures decoded.

    Args:
        dataset: columns image (a picture or None) and conversation (a list of role and text).

    Raises:
        ValueError: for missing columns, fewer rows than samples, or a picture that cannot be read (its row is named).
    """
    require_columns(dataset, CALIBRATION_COLUMNS, "calibration data")
    if not 0 < samples <= len(dataset):
        raise ValueError(f"samples: expected 1 to {len(dataset)} (the data set's rows), got {samples}")
    drawn = np.random.default_rng(seed).permutation(len(dataset))[:samples].tolist()
    return [read_row(dataset, index) for index in drawn]


def read_row(dataset: Dataset, index: int) -> dict[str, Any]:
    """One row with its picture decoded.

    Raises:
        ValueError: naming the row when its picture is corrupt or missing.
    """
    try:
        row = dataset[index]
        if row["image"] is not None:
            row["image"].load()
        return row
    except (OSError, SyntaxError) as error:
        raise ValueError(f"image: row {index} of the data set cannot be read: {error}") from error
