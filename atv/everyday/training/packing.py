"""Several short dialogues behind one picture, which is paid for once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atv.everyday.dialogues import Turn

IGNORED = -100
PROMPT, ANSWER, END = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "{}<|im_end|>", "\n"
Encoded = tuple[list[int], list[int]]


@dataclass
class PackedBatch:
    """Rows of dialogues that see their picture and themselves alone, at the positions that they would have alone.

    ``ids``, ``labels`` (-100 where no loss is taken) and ``positions`` are (batch, length); ``mask`` is bool
    (batch, 1, length, length), True where a token may look; ``images`` are (batch, 3, height, width) or None.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor
    images: Tensor | None


def encode_dialogue(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], opened: bool) -> Encoded:
    """(ids, labels): the loss is taken on answers and their end; ``opened`` where a picture began the first turn."""
    ids, labels = [], []
    for number in range(0, len(turns), 2):
        prompt = PROMPT.format(turns[number]["text"])
        if opened and number == 0:
            prompt = prompt.removeprefix("<|im_start|>user\n")
        asked = tokenizer((END if number else "") + prompt, add_special_tokens=False).input_ids
        told = tokenizer(ANSWER.format(turns[number + 1]["text"]), add_special_tokens=False).input_ids
        ids += asked + told
        labels += [IGNORED] * len(asked) + told
    return ids, labels


def pack(rows: Sequence[Sequence[Encoded]], prefix: Sequence[int], padding: int, images: Tensor | None) -> PackedBatch:
    """One row a picture, padded on the right.

    Args:
        rows: the encoded dialogues of each row.
        prefix: what every row begins with, the picture's tokens among them.
        padding: the id to pad with.
    """
    length = len(prefix) + max(sum(len(ids) for ids, _ in row) for row in rows)
    ids, labels = torch.full((len(rows), length), padding), torch.full((len(rows), length), IGNORED)
    positions, segments = torch.zeros_like(ids), torch.full_like(ids, -1)
    for number, row in enumerate(rows):
        start = 0
        for segment, (own, targets) in enumerate([(list(prefix), [IGNORED] * len(prefix)), *row]):
            place = (number, slice(start, start + len(own)))
            first = 0 if segment == 0 else len(prefix)
            ids[place], labels[place] = torch.tensor(own), torch.tensor(targets)
            positions[place] = torch.arange(first, first + len(own))
            segments[place] = segment
            start += len(own)
    keys, queries = segments[:, None, None, :], segments[:, None, :, None]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    # Padding looks at itself, so that no row of the attention is empty.
    return PackedBatch(ids, labels, positions, causal & ((keys == 0) | (keys == queries)), images)
