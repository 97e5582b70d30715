"""Questions that take several steps, as in MMMU: half multiple choice, half open."""

from numpy.random import Generator

from atv.bundled.facts import BADGE, BY_COLOR, CAPITALS, DOUBLE, SIDES
from atv.bundled.scenes import COLORS, Scene, pick
from atv.bundled.tasks.base import Task, TaskQuestion, choice, reference
from atv.bundled.tasks.relations import related

SUMS = tuple(str(n) for n in range(19))


class MultiStep(Task):
    """See, find and then reason: add two numbers, follow a relation to a fact, a badge to a capital."""

    name = "multistep"
    mirrors = "MMMU"
    metric = "OpenOrChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        forms = (_sum, _larger, _beyond_relation, _capital, _double)
        steps = [step for form in forms if (step := form(scene, rng))]
        if not steps:
            return ()
        text, answer, pool = pick(rng, steps)
        question = choice(rng, text, answer, pool) if rng.random() < 0.5 else TaskQuestion(text, answer)
        return (question,)


Step = tuple[str, str, tuple[str, ...]]


def _sum(scene: Scene, rng: Generator) -> Step | None:
    if len(scene.digits) != 2 or scene.clear != scene.things:
        return None
    return "what is the sum of the numbers ?", str(sum(int(d.kind) for d in scene.digits)), SUMS


def _larger(scene: Scene, rng: Generator) -> Step | None:
    if len(scene.digits) != 2 or scene.digits[0].kind == scene.digits[1].kind or scene.clear != scene.things:
        return None
    return "what color is the larger number ?", max(scene.digits, key=lambda d: int(d.kind)).color, COLORS


def _beyond_relation(scene: Scene, rng: Generator) -> Step | None:
    found = related(scene, rng)
    if found is None:
        return None
    phrase, thing = found
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
