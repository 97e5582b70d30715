"""The everyday things that a picture may show: their names, what they are, and their drawings, some kept unseen."""

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
SIZE = 56  # pixels a side
THINGS_PER_ROW = 4  # a WebP picture is at most 16,383 pixels high


@dataclass(frozen=True)
class Thing:
    """An everyday thing by the name that a person gives to its drawings.

    ``article`` is "a", "an" or "some"; with "some" the plural is the name itself. ``kind`` is one of ``KINDS``;
    ``emoji``, ``group``, ``subgroup`` and ``hexcode`` (its code points) are Unicode's, by emojibase.
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
        """The families whose drawing of it is never trained on: half of the things have one artist's kept back.

        Fluent's two go together, and two drawings at least stay for training. A hash of the code points decides.
        """
        digest = hashlib.sha256(f"unseen {self.hexcode}".encode()).digest()
        drawn = [tuple(family for family in artist if family in self.families) for artist in ARTISTS]
        eligible = [own for own in drawn if own and len(self.families) - len(own) >= 2]
        return eligible[digest[1] % len(eligible)] if digest[0] < 128 else ()


@dataclass(frozen=True)
class Drawing:
    """A thing as one family draws it."""

    thing: Thing
    family: str


def _read() -> tuple[Thing, ...]:
    with TABLE.open(encoding="utf-8", newline="") as rows:
        return tuple(
            Thing(row.pop("thing"), families=tuple(row.pop("families").split()), **row) for row in csv.DictReader(rows)
        )


THINGS = _read()
KINDS = tuple(dict.fromkeys(thing.kind for thing in THINGS))
_ROW = {thing.name: row for row, thing in enumerate(THINGS)}


def by_name(name: str) -> Thing:
    """The thing called ``name``; KeyError if there is none."""
    return THINGS[_ROW[name]]


@cache
def drawings(split: Split) -> tuple[Drawing, ...]:
    """Every drawing of a split in the table's order: those to train on ("known"), or those kept back ("unseen")."""
    return tuple(
        Drawing(thing, family)
        for thing in THINGS
        for family in thing.families
        if (family in thing.unseen) == (split == "unseen")
    )


def corner(row: int, family: str) -> tuple[int, int]:
    """Left and top pixel in the atlas of the drawing by ``family`` of the thing in the table's ``row``."""
    column = row % THINGS_PER_ROW * len(FAMILIES) + FAMILIES.index(family)
    return column * SIZE, row // THINGS_PER_ROW * SIZE


@cache
def _atlas() -> Image.Image:
    with Image.open(FILE) as picture:
        return picture.convert("RGBA")


@cache
def picture(drawing: Drawing) -> np.ndarray:
    """The drawing in RGBA, [SIZE, SIZE, 4] of uint8, read-only; KeyError if that family does not draw the thing."""
    if drawing.family not in drawing.thing.families:
        raise KeyError(f"no drawing of {drawing.thing.name!r} by {drawing.family!r}")
    left, top = corner(_ROW[drawing.thing.name], drawing.family)
    pixels = np.array(_atlas().crop((left, top, left + SIZE, top + SIZE)))
    pixels.setflags(write=False)
    return pixels
