"""Scenes of the bundled world: coloured shapes and handwritten digits on a 3 x 3 grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from numpy.random import Generator

ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
SHAPES = ("circle", "ring", "square", "frame", "triangle", "diamond", "cross", "star")
DIGITS = tuple("0123456789")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")

Split = Literal["train", "dev", "test"]
T = TypeVar("T")


def pick(rng: Generator, items: Sequence[T]) -> T:
    """Returns one of ``items``, drawn uniformly."""
    return items[int(rng.integers(len(items)))]


def shuffled(rng: Generator, items: Sequence[T]) -> list[T]:
    """Returns ``items`` in random order."""
    return [items[i] for i in rng.permutation(len(items))]


@dataclass(frozen=True)
class Thing:
    """A shape or digit in one cell; a smudged one is present but unrecognizable."""

    kind: str
    color: str
    row: int
    column: int
    smudged: bool = False

    @property
    def place(self) -> str:
        """The cell's name, such as "top left"."""
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"

    @property
    def is_digit(self) -> bool:
        return self.kind in DIGITS


@dataclass(frozen=True)
class Scene:
    """Things in reading order, at most one per cell, and the split that the layout belongs to."""

    things: tuple[Thing, ...]

    @property
    def clear(self) -> tuple[Thing, ...]:
        """The things that are not smudged."""
        return tuple(thing for thing in self.things if not thing.smudged)

    @property
    def digits(self) -> tuple[Thing, ...]:
        return tuple(thing for thing in self.clear if thing.is_digit)

    @property
    def split(self) -> Split:
        """The split that a hash of the layout chooses, so that no question is asked in two splits."""
        digest = hashlib.blake2b(repr(self.things).encode(), digest_size=2).digest()
        tenth = int.from_bytes(digest, "little") % 10
        return "dev" if tenth == 0 else "test" if tenth == 1 else "train"

    def at(self, row: int, column: int) -> Thing | None:
        """Returns the thing in a cell, or None if the cell is empty or outside the grid."""
        return next((t for t in self.things if (t.row, t.column) == (row, column)), None)


def sample_scene(rng: Generator, split: Split, max_things: int = 5) -> Scene:
    """Returns a random scene of 1 to ``max_things`` things whose layout belongs to ``split``."""
    while True:
        count = int(rng.integers(1, max_things + 1))
        digit_share = pick(rng, (0.0, 0.3, 0.6, 0.9))
        cells = sorted(rng.permutation(9)[:count])
        things = []
        for cell in cells:
            kinds = DIGITS if rng.random() < digit_share else SHAPES
            smudged = count > 1 and rng.random() < 0.05
            row, column = divmod(int(cell), 3)
            things.append(Thing(pick(rng, kinds), pick(rng, COLORS), row, column, smudged))
        scene = Scene(tuple(things))
        if scene.split == split and scene.clear:
            return scene
