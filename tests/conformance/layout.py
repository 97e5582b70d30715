"""What a processor returns, in shape and meaning, made without a processor.

A layout knows how one family of types lays out its pictures and clips: which ids stand for one in ``input_ids``, and
which tensors bring it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

PAD, BOS, EOS, START, END, IMAGE, VIDEO, ROW, IMAGE_WORD = range(9)
FIRST_WORD, VOCABULARY = 16, 64
# A picture between two words of its own.
FRAMED = dict(before=(START,), after=(END,))
SIDE = 12


@dataclass
class Visual:
    """One picture or clip: the ids that stand for it, and the tensors that bring it, each with a leading 1 or more."""

    ids: list[int]
    tensors: dict[str, Tensor]
    is_clip: bool = False


@dataclass
class Pictures:
    """The plain layout: a picture is (3, side, side) and becomes ``tokens`` image tokens; all are concatenated.

    ``row_ends``: how many of the vectors at image tokens are learned, whatever the pixels: ends of rows, of a picture.
    ``token_types``: the key under which the processor tells the modality of each token, if it does.
    """

    tokens: int = 9
    side: int = SIDE
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    token_types: str | None = None
    row_ends: int = 0
    has_clips = False
    beside_the_decoder = False

    def image(self, pixels: torch.Generator, large: bool) -> Visual:
        """A picture; ``large`` gives it more tokens where the type has pictures of several sizes."""
        return Visual(self.wrapped([IMAGE] * self.tokens), {"pixel_values": noise(pixels, 1, 3, self.side, self.side)})

    def wrapped(self, ids: list[int]) -> list[int]:
        return [*self.before, *ids, *self.after]

    def collate(self, rows: Sequence[list[Visual]]) -> dict[str, Tensor]:
        visuals = [visual for row in rows for visual in row]
        keys = dict.fromkeys(key for visual in visuals for key in visual.tensors)
        return {key: cat_padded([v.tensors[key] for v in visuals if key in v.tensors]) for key in keys}

    def beside(self, ids: Tensor, kinds: Tensor) -> dict[str, Tensor]:
        """Tensors that follow the tokens; ``kinds`` is 0 for text, 1 for a picture's tokens, 2 for a clip's."""
        return {self.token_types: kinds} if self.token_types else {}


def noise(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def cat_padded(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenates along the first dimension, the others padded with zeros to the largest."""
    largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [most - size for size, most in zip(tensor.shape[1:], largest, strict=True)]
        padded.append(F.pad(tensor, [amount for one in reversed(missing) for amount in (0, one)]))
    return torch.cat(padded)


def make_batch(layout, rows, words=0, pixels=0, side="left"):
    """A batch of ``rows``, each a list of parts: a number of words, "image", "large" or "video".

    ``words`` and ``pixels`` are the seeds of the first row, the next row has the next ones; ``side`` is where shorter
    rows are padded.
    """
    made = [make_row(layout, row, words + index, pixels + index) for index, row in enumerate(rows)]
    return collated(layout, made, side)


def collated(layout, made, side="left"):
    """The batch of rows as ``make_row`` makes them."""
    sequences, kinds, visuals = zip(*made, strict=True)
    ids, kind = pad(sequences, PAD, side), pad(kinds, 0, side)
    mask = pad([[1] * len(sequence) for sequence in sequences], 0, side)
    return {"input_ids": ids, "attention_mask": mask} | layout.collate(visuals) | layout.beside(ids, kind)


def make_row(layout, parts, words, pixels):
    """Ids, the modality of each (0 text, 1 picture, 2 clip), and the pictures and clips of one row."""
    draw, paint = (torch.Generator().manual_seed(seed) for seed in (words, pixels))
    ids, kinds, visuals = [BOS], [0], []
    for part in parts:
        if isinstance(part, int):
            added, modality = torch.randint(FIRST_WORD, VOCABULARY, (part,), generator=draw).tolist(), 0
        else:
            visuals.append(layout.clip(paint) if part == "video" else layout.image(paint, part == "large"))
            added, modality = visuals[-1].ids, 1 + visuals[-1].is_clip
        ids += added
        kinds += [modality * (token in (IMAGE, VIDEO)) for token in added]
    return ids, kinds, visuals


def pad(lists: Sequence[list[int]], value: int, side: str) -> Tensor:
    longest = max(map(len, lists))
    fill = [[value] * (longest - len(one)) for one in lists]
    return torch.tensor([f + one if side == "left" else one + f for f, one in zip(fill, lists, strict=True)])
