"""Relations and composition, as in GQA."""

from numpy.random import Generator

from atv.bundled.scenes import Scene, Thing, pick
from atv.bundled.tasks.base import Task, TaskQuestion, name

# Phrase -> where the thing is, seen from the anchor.
STEPS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}


def neighbors(scene: Scene, anchor: Thing) -> list[tuple[str, Thing]]:
    """(relation, thing) for every clear thing in a cell next to ``anchor``."""
    found = [(step, scene.at(anchor.row + dr, anchor.column + dc)) for step, (dr, dc) in STEPS.items()]
    return [(step, thing) for step, thing in found if thing is not None and not thing.smudged]


def related(scene: Scene, rng: Generator) -> tuple[str, Thing] | None:
    """A phrase such as "the thing left of the star", and the thing that it means."""
    candidates = [
        (f"the thing {step} {anchor_name}", thing)
        for anchor in scene.clear
        if (anchor_name := name(scene, anchor, rng))
        for step, thing in neighbors(scene, anchor)
    ]
    return pick(rng, candidates) if candidates else None


class Relations(Task):
    """The colour or kind of a thing known by its neighbour, or by its own kind or colour."""

    name = "relations"
    mirrors = "GQA"
    metric = "ExactMatch"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        found = related(scene, rng)
        if found is None:
            return ()
        phrase, thing = found
        if rng.random() < 0.4:
            thing = pick(rng, scene.clear)
            kind_is_unique = [t.kind for t in scene.clear].count(thing.kind) == 1
            phrase = f"the {thing.kind}" if kind_is_unique else f"the thing at the {thing.place}"
            return (TaskQuestion(f"what color is {phrase} ?", thing.color, category="attribute"),)
        if rng.random() < 0.5:
            return (TaskQuestion(f"what color is {phrase} ?", thing.color, category="relation"),)
        return (TaskQuestion(f"what is {phrase} ?", thing.kind, category="relation"),)
