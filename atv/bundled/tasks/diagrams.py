"""Multiple choice over diagrams, as in ScienceQA-IMG."""

from numpy.random import Generator

from atv.bundled.facts import BADGE, BY_COLOR, CONTINENT, CONTINENTS, OBJECT
from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, Thing, pick
from atv.bundled.tasks.base import PLACES, Task, TaskQuestion, choice, name, reference


class Diagrams(Task):
    """Three or four options about one thing: its colour, kind, place, or a fact about it."""

    name = "diagrams"
    mirrors = "ScienceQA-IMG"
    metric = "LetterChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        thing = pick(rng, scene.clear)
        count = int(rng.integers(3, 5))
        form = pick(rng, ("color", "kind", "place", "fact"))
        if form == "kind":
            text = f"what is at the {thing.place} ?"
            return (choice(rng, text, thing.kind, DIGITS if thing.is_digit else SHAPES, count),)
        if form == "place" and (own_name := name(scene, thing, rng)):
            return (choice(rng, f"where is {own_name} ?", thing.place, PLACES, count),)
        if form == "fact":
            return (_fact(scene, thing, rng, count),)
        return (choice(rng, f"what color is the thing at the {thing.place} ?", thing.color, COLORS, count),)


def _fact(scene: Scene, thing: Thing, rng: Generator, count: int) -> TaskQuestion:
    if thing.is_digit or rng.random() < 0.4:
        relation = pick(rng, tuple(BY_COLOR))
        answer, pool = BY_COLOR[relation][thing.color], tuple(BY_COLOR[relation].values())
        text = f"what {relation} has the color of {reference(scene, thing, rng, 'color')} ?"
    elif rng.random() < 0.5:
        answer, pool = OBJECT[thing.kind], tuple(OBJECT.values())
        text = f"what object has the shape of {reference(scene, thing, rng, 'kind')} ?"
    else:
        answer, pool = CONTINENT[BADGE[thing.color, thing.kind]], tuple(CONTINENTS)
        text = f"what continent has the badge of {reference(scene, thing, rng, 'both')} ?"
    return choice(rng, text, answer, pool, count)
