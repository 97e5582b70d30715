"""Phrases that the tasks about everyday scenes share."""

from collections.abc import Iterator
from functools import partial

from numpy.random import Generator

from atv.bundled.scenes import pick, shuffled
from atv.bundled.tasks import base
from atv.bundled.tasks.base import others
from atv.everyday.scenes import PLACES, Item, Scene
from atv.everyday.things import THINGS, Thing

# Phrase -> offset (rows, columns) from the named thing to the item that is asked about.
STEPS = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
# Each option is on a separate line.
LISTED = "\n{}. {}"
choice = partial(base.choice, form=LISTED)


def at(place: str) -> str:
    """Returns the place with its preposition: "at the top left", "in the center"."""
    return f"in the {place}" if place == "center" else f"at the {place}"


def unique(scene: Scene) -> list[Item]:
    """Returns the clear things whose name no other clear item of the scene has."""
    names = [item.name for item in scene.things]
    return [item for item in scene.things if names.count(item.name) == 1]


def neighbors(scene: Scene, anchor: Item) -> Iterator[tuple[str, Item]]:
    """Yields (phrase, item) for every clear item in an area next to ``anchor``, such as ("above the cat", ...)."""
    for step, (row_offset, column_offset) in STEPS.items():
        item = scene.at(anchor.row + row_offset, anchor.column + column_offset)
        if item is not None and not item.blurred:
            yield f"{step} the {anchor.name}", item


def phrases(scene: Scene, item: Item, by_name: bool = True) -> list[str]:
    """Returns phrases that identify this item: "the thing at the top left", "the cat", "the thing above the cup"."""
    descriptions = [f"the thing {at(item.place)}"]
    if by_name and item in unique(scene):
        descriptions.append(f"the {item.name}")
    for anchor in unique(scene):
        descriptions += [f"the thing {phrase}" for phrase, neighbor in neighbors(scene, anchor) if neighbor is item]
    return descriptions


def absent_thing(scene: Scene, rng: Generator) -> Thing:
    """Returns a thing that the scene does not show; half the time, it is of a kind that the scene does show.

    Names with the same last word as a shown one are left out: if the scene shows a polar bear, nobody can say that it
    shows no bear.
    """
    shown_last_words = {item.name.split()[-1] for item in scene.items}
    kinds = {item.thing.kind for item in scene.things}
    absent = [thing for thing in THINGS if thing.name.split()[-1] not in shown_last_words]
    of_shown_kind = [thing for thing in absent if thing.kind in kinds]
    return pick(rng, of_shown_kind if of_shown_kind and rng.random() < 0.5 else absent)


def with_article(thing: Thing) -> str:
    """Returns the name with its article: "a cat", "an apple", "some glasses"."""
    return f"{thing.article} {thing.name}"


def wrong_names(scene: Scene, rng: Generator, answer: Item) -> list[str]:
    """Returns names for wrong options.

    For a thing, these are up to two others that the scene shows, and four that it does not. For a word or a digit, they
    are the others in the scene.
    """
    other_names = {item.name for item in scene.items if item.form == answer.form} - {answer.name}
    if answer.form != "thing":
        return sorted(other_names)
    return shuffled(rng, [*sorted(other_names)[:2], *(absent_thing(scene, rng).name for _ in range(4))])


def empty_places(scene: Scene) -> list[str]:
    """Returns the areas that contain nothing, not even a blurred item."""
    return others(PLACES, *(item.place for item in scene.items))
