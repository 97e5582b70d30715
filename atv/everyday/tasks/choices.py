"""Tasks with lettered options: diagrams, circular choice, and multi-step questions, half of which are open."""

from numpy.random import Generator

from atv.bundled.scenes import DIGITS, pick
from atv.bundled.tasks.base import Task, TaskQuestion, rotations
from atv.everyday.facts import fact
from atv.everyday.scenes import PLACES, Scene
from atv.everyday.tasks.base import LISTED, at, choice, neighbors, phrases, unique, wrong_names
from atv.everyday.tasks.in_words import facts_to_ask, singled_out

Step = tuple[str, str, tuple[str, ...]]
# Beginning of a question that picks one of several things -> its replacement after "Where is the one".
_BEGINNINGS = {
    "Which of these do you": "you",
    "Which of these can you not": "you cannot",
    "Which of these can you": "you can",
    "Which of these": "that",
    "The body of which of these": "whose body",
}


class Diagrams(Task):
    """As in ScienceQA-IMG: two to four options for what one thing is, where it is, or a fact about it."""

    metric = "LetterChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        count = int(rng.integers(2, 5))
        which_questions = [
            (thing_fact.relation.which_questions[thing_fact.answer], sole_item, [thing.name for thing in scene.things])
            for thing_fact, sole_item in singled_out(scene)
        ]
        fact_items = [
            (thing_fact, item)
            for item in scene.things
            for thing_fact in facts_to_ask(scene, item)
            if len(thing_fact.relation.answers) > 2
        ]
        form = pick(rng, ("what", "where", "which", "fact"))
        if form == "which" and which_questions:
            text, item, names = pick(rng, which_questions)
            return (choice(rng, text, item.name, names, count),)
        if form == "fact" and fact_items:
            chosen_fact, item = pick(rng, fact_items)
            text = chosen_fact.relation.about_the(pick(rng, phrases(scene, item, by_name=False)))
            return (choice(rng, text, chosen_fact.answer, chosen_fact.relation.answers, count),)
        if form == "where" and unique(scene):
            item = pick(rng, unique(scene))
            return (choice(rng, f"Where is the {item.name}?", item.place, PLACES, count),)
        if not scene.things:
            return ()
        item = pick(rng, scene.things)
        return (choice(rng, f"What is {at(item.place)}?", item.name, wrong_names(scene, rng, item), count),)


class Circular(Task):
    """As in MMBench: four options in all four rotations; a question counts only if all four answers are right."""

    metric = "CircularChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if not scene.things:
            return ()
        item = pick(rng, scene.things)
        text, answer, wrong = f"What is {at(item.place)}?", item.name, wrong_names(scene, rng, item)
        if item in unique(scene) and rng.random() < 0.4:
            text, answer, wrong = f"Where is the {item.name}?", item.place, list(PLACES)
        return rotations(rng, text, answer, list(dict.fromkeys(wrong)), LISTED)


class MultiStep(Task):
    """As in MMMU: questions that need seeing, finding and then reasoning.

    They count the things of a kind, add two numbers, or go from a relation to a fact, or from a fact to a place.
    """

    metric = "OpenOrChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        steps = [step for form in (_count, _sum, _beyond_relation, _beyond_fact) if (step := form(scene, rng))]
        if not steps:
            return ()
        text, answer, pool = pick(rng, steps)
        question = choice(rng, text, answer, pool) if rng.random() < 0.5 else TaskQuestion(text, answer)
        return (question,)


def _count(scene: Scene, rng: Generator) -> Step | None:
    """Asks how many things of a kind there are; in training, only if the kind of every thing is a training fact."""
    kind_facts = [fact(item.thing, "kind") for item in scene.things]
    allowed = all(kind_fact and (scene.split != "train" or kind_fact.split == "train") for kind_fact in kind_facts)
    if not kind_facts or not allowed or scene.clear != scene.items:
        return None
    answers = [kind_fact.answer for kind_fact in kind_facts if kind_fact]
    kind = pick(rng, answers)
    return f"How many things are a kind of {kind}?", str(answers.count(kind)), DIGITS[1:6]


def _sum(scene: Scene, rng: Generator) -> Step | None:
    if len(scene.digits) != 2 or scene.clear != scene.items:
        return None
    total = sum(int(digit.name) for digit in scene.digits)
    near_sums = [str(candidate) for candidate in range(max(0, total - 3), total + 4) if candidate != total]
    return "What is the sum of the two numbers?", str(total), tuple(near_sums)


def _beyond_relation(scene: Scene, rng: Generator) -> Step | None:
    """Asks for a fact about the thing next to a named one."""
    steps = [
        (neighbor_fact.relation.about_the(f"the thing {phrase}"), neighbor_fact.answer, neighbor_fact.relation.answers)
        for anchor in unique(scene)
        for phrase, neighbor in neighbors(scene, anchor)
        if neighbor.form == "thing"
        for neighbor_fact in facts_to_ask(scene, neighbor)
    ]
    return pick(rng, steps) if steps else None


def _beyond_fact(scene: Scene, rng: Generator) -> Step | None:
    """Asks where the only thing is for which a fact holds."""
    which_questions = [
        (sole_fact.relation.which_questions[sole_fact.answer], item) for sole_fact, item in singled_out(scene)
    ]
    if not which_questions:
        return None
    text, item = pick(rng, which_questions)
    return where_is(text), item.place, PLACES


def where_is(which: str) -> str:
    """Turns a question for a thing into one for its place.

    "Which of these can you wear?" becomes "Where is the one you can wear?".
    """
    for beginning, replacement in _BEGINNINGS.items():
        if which.startswith(beginning):
            return f"Where is the one {replacement}{which.removeprefix(beginning)}"
    raise ValueError(f"which: {which!r} must begin with one of {', '.join(_BEGINNINGS)}")
