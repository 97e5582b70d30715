"""The everyday things that a picture may show: their names, kinds and drawings, some of which training never shows."""

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

FAMILIES = ("noto", "flat", "three_d", "twemoji")
ARTISTS = (("noto",), ("flat", "three_d"), ("twemoji",))  # Fluent's two families show the same drawing
TABLE = Path(__file__).parent / "artwork" / "things.csv"

Split = Literal["known", "unseen"]
FILE = Path(__file__).parent / "artwork" / "atlas.webp"
SIZE = 56  # pixels per side
THINGS_PER_ROW = 4  # several, because a WebP picture is at most 16,383 pixels high


@dataclass(frozen=True)
class Thing:
    """An everyday thing, under the name that a person gives to its drawings.

    ``article`` is "a", "an" or "some"; with "some" the plural is the name itself. ``kind`` is one of ``KINDS``;
    ``emoji``, ``group``, ``subgroup`` and ``hexcode`` (its code points) are Unicode's, taken from emojibase.
    """

    name: str
    plural: str
    article: str
    kind: str
    emoji: str
    hexcode: str
    group: str
    subgroup: str
    families: tuple[str, ...]

    @property
    def unseen(self) -> tuple[str, ...]:
        """The families whose drawings of this thing are never trained on.

        For half of the things, the drawings of one artist are held out. Fluent's two families are held out together,
        and at least two drawings remain for training. A hash of the code points decides.
        """
        digest = hashlib.sha256(f"unseen {self.hexcode}".encode()).digest()
        families_by_artist = [tuple(family for family in artist if family in self.families) for artist in ARTISTS]
        eligible = [families for families in families_by_artist if families and len(self.families) - len(families) >= 2]
        return eligible[digest[1] % len(eligible)] if digest[0] < 128 else ()


@dataclass(frozen=True)
class Drawing:
    """A thing as one family draws it."""

    thing: Thing
    family: str


def _read_table() -> tuple[Thing, ...]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Thing(row.pop("thing"), families=tuple(row.pop("families").split()), **row) for row in csv.DictReader(file)
        )


THINGS = _read_table()
KINDS = tuple(dict.fromkeys(thing.kind for thing in THINGS))
_ROW = {thing.name: row for row, thing in enumerate(THINGS)}


def by_name(name: str) -> Thing:
    """Returns the thing called ``name``; raises KeyError if there is none."""
    return THINGS[_ROW[name]]


@cache
def drawings(split: Split) -> tuple[Drawing, ...]:
    """Returns the drawings to train on ("known") or those held out ("unseen"), in the table's order."""
    return tuple(
        Drawing(thing, family)
        for thing in THINGS
        for family in thing.families
        if (family in thing.unseen) == (split == "unseen")
    )


def corner(row: int, family: str) -> tuple[int, int]:
    """Returns the left and top pixel, in the atlas, of ``family``'s drawing of the thing in the table's ``row``."""
    column = row % THINGS_PER_ROW * len(FAMILIES) + FAMILIES.index(family)
    return column * SIZE, row // THINGS_PER_ROW * SIZE


@cache
def _atlas() -> Image.Image:
    with Image.open(FILE) as picture:
        return picture.convert("RGBA")


@cache
def picture(drawing: Drawing) -> np.ndarray:
    """Returns the drawing in RGBA: [SIZE, SIZE, 4] of uint8, read-only.

    Raises:
        KeyError: if the family does not draw the thing.
    """
    if drawing.family not in drawing.thing.families:
        raise KeyError(f"no drawing of {drawing.thing.name!r} by {drawing.family!r}")
    left, top = corner(_ROW[drawing.thing.name], drawing.family)
    pixels = np.array(_atlas().crop((left, top, left + SIZE, top + SIZE)))
    pixels.setflags(write=False)
    return pixels
