"""Questions that take several steps, as in MMMU: half multiple choice, half open."""

from numpy.random import Generator

from atv.bundled.scenes import DIGITS, pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.facts import fact
from atv.everyday.scenes import PLACES, Scene
from atv.everyday.tasks.base import choice, neighbors, unique
from atv.everyday.tasks.knowledge import singled_out, told

Step = tuple[str, str, tuple[str, ...]]
# How a question for one of several things begins, and what it becomes behind "Where is the one".
_BEGINNINGS = {
    "Which of these do you": "you",
    "Which of these can you not": "you cannot",
    "Which of these can you": "you can",
    "Which of these": "that",
    "The body of which of these": "whose body",
}


class MultiStep(Task):
    """See, find and then reason: count a kind, add two numbers, follow a relation or a fact to another."""

    name = "multistep"
    mirrors = "MMMU"
    metric = "OpenOrChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        steps = [step for form in (_count, _sum, _beyond_relation, _beyond_fact) if (step := form(scene, rng))]
        if not steps:
            return ()
        text, answer, pool = pick(rng, steps)
        question = choice(rng, text, answer, pool) if rng.random() < 0.5 else TaskQuestion(text, answer)
        return (question,)


def _count(scene: Scene, rng: Generator) -> Step | None:
    """How many things of a kind there are; in training only where every kind is a fact of training."""
    kinds = [fact(item.thing, "kind") for item in scene.things]
    allowed = all(found and (scene.split != "train" or found.split == "train") for found in kinds)
    if not kinds or not allowed or scene.clear != scene.items:
        return None
    answers = [found.answer for found in kinds if found]
    kind = pick(rng, answers)
    return f"How many things are a kind of {kind}?", str(answers.count(kind)), DIGITS[1:6]


def _sum(scene: Scene, rng: Generator) -> Step | None:
    if len(scene.digits) != 2 or scene.clear != scene.items:
        return None
    total = sum(int(digit.name) for digit in scene.digits)
    near = [str(other) for other in range(max(0, total - 3), total + 4) if other != total]
    return "What is the sum of the two numbers?", str(total), tuple(near)


def _beyond_relation(scene: Scene, rng: Generator) -> Step | None:
    """A fact about the thing beside a named one."""
    found = [
        (known.relation.about_the(f"the thing {phrase}"), known.answer, known.relation.answers)
        for anchor in unique(scene)
        for phrase, near in neighbors(scene, anchor)
        if near.form == "thing"
        for known in told(scene, near)
    ]
    return pick(rng, found) if found else None


def _beyond_fact(scene: Scene, rng: Generator) -> Step | None:
    """Where the only thing stands of which a fact holds."""
    found = [(known.relation.which[known.answer], item) for known, item in singled_out(scene)]
    if not found:
        return None
    text, item = pick(rng, found)
    return where_is(text), item.place, PLACES


def where_is(which: str) -> str:
    """Where that stands which ``which`` asks for: "Which of these can you wear?", "Where is the one you can wear?"."""
    for beginning, instead in _BEGINNINGS.items():
        if which.startswith(beginning):
            return f"Where is the one {instead}{which.removeprefix(beginning)}"
    raise ValueError(f"which: {which!r} begins with none of {', '.join(_BEGINNINGS)}")
