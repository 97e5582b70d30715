"""All types: a tiny random model of each, and samples for it."""

from dataclasses import dataclass

import torch
from conformance.families import (
    bridged,
    documents,
    experts,
    grids,
    omni,
    patches,
    pictures,
    relatives,
    slices,
    streams,
    tiles,
)
from conformance.layout import IMAGE, Pictures, make_batch
from conformance.sizes import text
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from atv.model.positions import PADDING_COUNTS, PICTURES_COUNT

FAMILIES = (bridged, documents, experts, grids, omni, patches, pictures, relatives, slices, streams, tiles)
TYPES = dict(sorted(entry for family in FAMILIES for entry in family.TYPES.items()))


def build(kind, **other):
    """The model of a type; ``other`` are arguments of the config class that replace the type's own."""
    return _moved(CONFIG_MAPPING[kind](**TYPES[kind].config | other))


def around(decoder, **sizes):
    """A LLaVA whose language model is of the given type."""
    config = CONFIG_MAPPING["llava"]
    return _moved(config(text_config=text(decoder, **sizes), vision_config=pictures.CLIP, image_token_index=IMAGE))


def _moved(config):
    """Every parameter is moved from where it starts: zeros (gates, projections) would hide what pixels do."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


@dataclass(frozen=True)
class Samples:
    """Calibration samples of a type: batches of rows, each row a list of parts as ``make_batch`` takes them."""

    layout: Pictures
    rows: list[list[list]]
    side: str = "left"

    def batches(self, pixels=0):
        """The same words whatever the seed of the pixels."""
        seeds = [sum(map(len, self.rows[:index])) for index in range(len(self.rows))]
        return [
            make_batch(self.layout, rows, seed, pixels + seed, self.side)
            for rows, seed in zip(self.rows, seeds, strict=True)
        ]


# Of a LLaVA ``around`` a decoder.
AROUND = Samples(Pictures(), [[[3, "image", 4], [2, "image", 7]], [[1, "image", 5]]])


def usual_samples(kind):
    """Two rows with a picture each, a row with a larger one, and a clip where the type has clips.

    The two come together, but for types that would read them otherwise than alone.
    """
    layout, pair = TYPES[kind].layout, [[3, "image", 4], [2, "image", 7]]
    together = [[row] for row in pair] if kind in PADDING_COUNTS + PICTURES_COUNT else [pair]
    rows = [*together, [[1, "large", 5]]]
    return Samples(layout, [*rows, [[2, "video", 3]]] if layout.has_clips else rows)
