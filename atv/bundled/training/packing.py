"""Packs several short dialogues after one picture, which is processed only once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

IGNORED = -100
Encoded = tuple[list[int], list[int]]


@dataclass
class PackedBatch:
    """Rows of dialogues that attend only to their picture and themselves, at the positions that they would have alone.

    ``ids``, ``labels`` (-100 where no loss is taken) and ``positions`` are (batch, length); ``mask`` is bool
    (batch, 1, length, length), True where a token may attend; ``images`` are (batch, 3, height, width) or None.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor
    images: Tensor | None


def pack(rows: Sequence[Sequence[Encoded]], prefix: Sequence[int], padding: int, images: Tensor | None) -> PackedBatch:
    """Packs one row per picture, padded on the right.

    Args:
        rows: the encoded dialogues of each row.
        prefix: the tokens that every row begins with, including those of the picture.
        padding: id of the padding token.
    """
    length = len(prefix) + max(sum(len(ids) for ids, _ in row) for row in rows)
    ids, labels = torch.full((len(rows), length), padding), torch.full((len(rows), length), IGNORED)
    positions, segments = torch.zeros_like(ids), torch.full_like(ids, -1)
    for row_number, row in enumerate(rows):
        start = 0
        for segment, (tokens, targets) in enumerate([(list(prefix), [IGNORED] * len(prefix)), *row]):
            span = (row_number, slice(start, start + len(tokens)))
            start_position = 0 if segment == 0 else len(prefix)
            ids[span], labels[span] = torch.tensor(tokens), torch.tensor(targets)
            positions[span] = torch.arange(start_position, start_position + len(tokens))
            segments[span] = segment
            start += len(tokens)
    keys, queries = segments[:, None, None, :], segments[:, None, :, None]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    # Padding attends to itself, so that no row of the attention is empty.
    return PackedBatch(ids, labels, positions, causal & ((keys == 0) | (keys == queries)), images)


def answer_loss(model: LlavaForConditionalGeneration, batch: PackedBatch) -> Tensor:
    """Returns the mean cross-entropy over answer tokens."""
    bias = torch.zeros_like(batch.mask, dtype=torch.float32).masked_fill(~batch.mask, torch.finfo(torch.float32).min)
    inputs = {"input_ids": batch.ids, "attention_mask": bias, "position_ids": batch.positions}
    hidden = model.model(**inputs, pixel_values=batch.images, use_cache=False).last_hidden_state
    predicts = batch.labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][predicts])
    return F.cross_entropy(logits.float(), batch.labels[:, 1:][predicts])
