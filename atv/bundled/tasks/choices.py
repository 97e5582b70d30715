"""Tasks with lettered options: diagrams, circular choice, and multi-step questions, half of which are open."""

from numpy.random import Generator

from atv.bundled.facts import BADGE, BY_COLOR, CAPITALS, CONTINENT, CONTINENTS, DOUBLE, OBJECT, SIDES
from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, Thing, pick
from atv.bundled.tasks.base import PLACES, Task, TaskQuestion, choice, name, reference, rotations
from atv.bundled.tasks.in_words import related

SUMS = tuple(str(n) for n in range(19))
Step = tuple[str, str, tuple[str, ...]]


class Diagrams(Task):
    """As in ScienceQA-IMG: three or four options for the colour, kind or place of one thing, or for a fact about it."""

    metric = "LetterChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        thing = pick(rng, scene.clear)
        count = int(rng.integers(3, 5))
        form = pick(rng, ("color", "kind", "place", "fact"))
        if form == "kind":
            text = f"what is at the {thing.place} ?"
            return (choice(rng, text, thing.kind, DIGITS if thing.is_digit else SHAPES, count),)
        if form == "place" and (thing_name := name(scene, thing, rng)):
            return (choice(rng, f"where is {thing_name} ?", thing.place, PLACES, count),)
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


class Circular(Task):
    """As in MMBench: four options in all four rotations; a question counts only if all four answers are right."""

    metric = "CircularChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        thing = pick(rng, scene.clear)
        thing_name = name(scene, thing, rng)
        candidates = [
            (f"what color is the thing at the {thing.place} ?", thing.color, COLORS),
            (f"what is at the {thing.place} ?", thing.kind, DIGITS if thing.is_digit else SHAPES),
        ]
        if thing_name:
            candidates.append((f"where is {thing_name} ?", thing.place, PLACES))
        if scene.clear == scene.things:
            candidates.append(("how many things are there ?", str(len(scene.things)), DIGITS[1:6]))
        text, answer, pool = pick(rng, candidates)
        return rotations(rng, text, answer, pool)


class MultiStep(Task):
    """As in MMMU: questions that need seeing, finding and then reasoning.

    For example, they add two numbers, or go from a relation to a fact or from a badge to a capital.
    """

    metric = "OpenOrChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        forms = (_sum, _larger, _beyond_relation, _capital, _double)
        steps = [step for form in forms if (step := form(scene, rng))]
        if not steps:
            return ()
        text, answer, pool = pick(rng, steps)
        question = choice(rng, text, answer, pool) if rng.random() < 0.5 else TaskQuestion(text, answer)
        return (question,)


def _sum(scene: Scene, rng: Generator) -> Step | None:
    if len(scene.digits) != 2 or scene.clear != scene.things:
        return None
    return "what is the sum of the numbers ?", str(sum(int(digit.kind) for digit in scene.digits)), SUMS


def _larger(scene: Scene, rng: Generator) -> Step | None:
    if len(scene.digits) != 2 or scene.digits[0].kind == scene.digits[1].kind or scene.clear != scene.things:
        return None
    return "what color is the larger number ?", max(scene.digits, key=lambda digit: int(digit.kind)).color, COLORS


def _beyond_relation(scene: Scene, rng: Generator) -> Step | None:
    phrase_and_thing = related(scene, rng)
    if phrase_and_thing is None:
        return None
    phrase, thing = phrase_and_thing
    if thing.is_digit or rng.random() < 0.5:
        relation = pick(rng, tuple(BY_COLOR))
        facts = BY_COLOR[relation]
        return f"what {relation} has the color of {phrase} ?", facts[thing.color], tuple(facts.values())
    return f"how many sides has {phrase} ?", SIDES[thing.kind], tuple(dict.fromkeys(SIDES.values()))


def _capital(scene: Scene, rng: Generator) -> Step | None:
    shapes = [thing for thing in scene.clear if not thing.is_digit]
    if not shapes:
        return None
    thing = pick(rng, shapes)
    answer = CAPITALS[BADGE[thing.color, thing.kind]]
    return f"what capital has the badge of {reference(scene, thing, rng, 'both')} ?", answer, tuple(CAPITALS.values())


def _double(scene: Scene, rng: Generator) -> Step | None:
    if not scene.digits:
        return None
    thing = pick(rng, scene.digits)
    return f"what is the double of {reference(scene, thing, rng, 'kind')} ?", DOUBLE[thing.kind], tuple(DOUBLE.values())
