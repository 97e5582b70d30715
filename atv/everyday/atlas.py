"""The drawings of the everyday things, out of one picture file."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from atv.everyday.things import FAMILIES, THINGS, Drawing

FILE = Path(__file__).parent / "artwork" / "atlas.webp"
SIZE = 56  # pixels a side
THINGS_PER_ROW = 4  # a WebP picture is at most 16,383 pixels high


def corner(row: int, family: str) -> tuple[int, int]:
    """Left and top pixel in the atlas of the drawing by ``family`` of the thing in the table's ``row``."""
    column = row % THINGS_PER_ROW * len(FAMILIES) + FAMILIES.index(family)
    return column * SIZE, row // THINGS_PER_ROW * SIZE


@cache
def _atlas() -> Image.Image:
    with Image.open(FILE) as picture:
        return picture.convert("RGBA")


@cache
def _rows() -> dict[str, int]:
    return {thing.name: row for row, thing in enumerate(THINGS)}


@cache
def picture(drawing: Drawing) -> np.ndarray:
    """The drawing in RGBA, [SIZE, SIZE, 4] of uint8, read-only; KeyError if that family does not draw the thing."""
    if drawing.family not in drawing.thing.families:
        raise KeyError(f"no drawing of {drawing.thing.name!r} by {drawing.family!r}")
    left, top = corner(_rows()[drawing.thing.name], drawing.family)
    pixels = np.array(_atlas().crop((left, top, left + SIZE, top + SIZE)))
    pixels.setflags(write=False)
    return pixels
