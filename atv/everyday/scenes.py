"""Scenes of everyday things, printed words and handwritten digits, placed in nine areas of a picture."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from atv.bundled.scenes import COLUMNS, DIGITS, ROWS, pick
from atv.everyday.things import Drawing, Thing, by_name, drawings

PLACES = tuple(f"{row} {column}".replace("middle center", "center") for row in ROWS for column in COLUMNS)
# Words on signs: three to six letters; none of them is the name of a thing.
_ON_SIGNS = """
    art bank bar best big books cafe cash city cold dance exit farm fast film food fresh games gold green gym hello
    help home hot joy king lake library love lunch market menu mill music new news night office open paint park pay
    peace people poem police pool post push queen quiet race rent rest river road sale sea sleep slow spa sport
    staff stop street summer swim team tennis thanks ticket tours town toys turn win winter wood work yard zoo
"""
WORDS = tuple(_ON_SIGNS.split())
CELL = 56
SIDE = 3 * CELL

Split = Literal["train", "dev", "test", "unseen"]


@dataclass(frozen=True)
class Item:
    """The content of one of the nine areas: a thing as one family draws it, a sign with a word, or a digit.

    Attributes:
        form: "thing", "word" or "digit".
        name: the thing's name, the word, or the digit.
        style: the family of drawings of a thing; the number of the font of a word or of the handwriting of a digit.
        size: longer side in pixels.
        left, top: offset inside the area, in pixels.
        blurred: whether the item is present but unrecognizable.
    """

    form: Literal["thing", "word", "digit"]
    name: str
    style: str
    row: int
    column: int
    size: int
    left: int = 0
    top: int = 0
    blurred: bool = False

    @property
    def place(self) -> str:
        """The area's name, such as "top left" or "center"."""
        return PLACES[3 * self.row + self.column]

    @property
    def thing(self) -> Thing:
        """The thing's entry in the table.

        Raises:
            KeyError: if the item is a word or a digit.
        """
        return by_name(self.name)


@dataclass(frozen=True)
class Scene:
    """Items in reading order, at most one per area, and the split that the arrangement belongs to."""

    items: tuple[Item, ...]
    split: Split

    @property
    def clear(self) -> tuple[Item, ...]:
        """The items that are not blurred."""
        return tuple(item for item in self.items if not item.blurred)

    @property
    def things(self) -> tuple[Item, ...]:
        """The clear items that are things."""
        return tuple(item for item in self.clear if item.form == "thing")

    @property
    def words(self) -> tuple[Item, ...]:
        return tuple(item for item in self.clear if item.form == "word")

    @property
    def digits(self) -> tuple[Item, ...]:
        return tuple(item for item in self.clear if item.form == "digit")

    def at(self, row: int, column: int) -> Item | None:
        """Returns the item in an area, or None if the area is empty or outside the picture."""
        return next((item for item in self.items if (item.row, item.column) == (row, column)), None)


def hashed_split(items: Sequence[Item]) -> Literal["train", "dev", "test"]:
    """Returns the split that a hash of the arrangement chooses, so that no arrangement is in two splits.

    One tenth of all arrangements is dev, and one tenth is test.
    """
    arrangement = repr([(item.form, item.name, item.row, item.column, item.blurred) for item in items])
    digest = hashlib.blake2b(arrangement.encode(), digest_size=2).digest()
    return {0: "dev", 1: "test"}.get(int.from_bytes(digest, "little") % 10, "train")  # type: ignore[return-value]


# Shares of things, words and digits among the items of a scene; half of the scenes show almost only things.
MIXTURES = ((0.95, 0.03, 0.02), (0.95, 0.03, 0.02), (0.5, 0.3, 0.2), (0.3, 0.3, 0.4))


def sample_scene(
    rng: Generator,
    split: Split,
    min_items: int = 2,
    max_items: int = 6,
    mixtures: Sequence[tuple[float, float, float]] = MIXTURES,
) -> Scene:
    """Returns a random scene of ``min_items`` to ``max_items`` items whose arrangement belongs to ``split``.

    Scenes of ``unseen`` have arrangements of ``test``, but drawings that training never shows; all other scenes have
    known drawings.
    """
    drawing_pool = drawings("unseen" if split == "unseen" else "known")
    while True:
        areas = sorted(rng.permutation(9)[: int(rng.integers(min_items, max_items + 1))].tolist())
        shares = pick(rng, mixtures)
        items: list[Item] = []
        for area in areas:
            items.append(_sample_item(rng, drawing_pool, divmod(area, 3), shares, items))
        if hashed_split(items) == ("test" if split == "unseen" else split) and any(not item.blurred for item in items):
            return Scene(tuple(items), split)


def _sample_item(
    rng: Generator,
    drawing_pool: Sequence[Drawing],
    area: tuple[int, int],
    shares: tuple[float, float, float],
    earlier_items: Sequence[Item],
) -> Item:
    """Samples one more item.

    A fifth of the things repeat a name that the scene already shows, so that there is something to count.
    """
    form = rng.choice(("thing", "word", "digit"), p=shares)
    repeatable_names = [item.name for item in earlier_items if item.form == "thing" and not item.blurred]
    if form == "thing":
        if repeatable_names and rng.random() < 0.2:
            name = pick(rng, repeatable_names)
            drawing = pick(rng, [drawing for drawing in drawing_pool if drawing.thing.name == name])
        else:
            drawing = pick(rng, drawing_pool)
        name, style, size = drawing.thing.name, drawing.family, int(rng.integers(34, CELL + 1))
    elif form == "word":
        name, style, size = pick(rng, WORDS), str(rng.integers(4)), int(rng.integers(50, CELL + 1))
    else:
        name, style, size = pick(rng, DIGITS), str(rng.integers(10_000)), int(rng.integers(30, 47))
    left, top = (int(rng.integers(CELL - size + 1)) for _ in range(2))
    return Item(form, name, style, *area, size, left, top, blurred=bool(earlier_items and rng.random() < 0.04))
