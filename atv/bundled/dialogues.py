"""Captions, dialogues, and facts without a picture, for training and calibrating the bundled model."""

from collections.abc import Callable
from typing import Any, Literal, TypedDict

from numpy.random import Generator

from atv.bundled.facts import BADGE, BY_COLOR, CAPITALS, CONTINENT, DOUBLE, OBJECT, ROMAN, SIDES
from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, pick, shuffled
from atv.bundled.tasks import TASKS
from atv.bundled.tasks.base import PLACES, choice, name, names, others


class Turn(TypedDict):
    """One turn of a dialogue."""

    role: Literal["user", "assistant"]
    text: str


def exchange(question: str, answer: str) -> list[Turn]:
    """Returns a question and its answer as two turns."""
    return [{"role": "user", "text": question}, {"role": "assistant", "text": answer}]


def caption(scene: Scene, rng: Generator) -> str:
    """Returns every thing with its colour and place, in reading order; in 30% of captions, only kinds and places."""
    short = rng.random() < 0.3
    return " . ".join(
        f"a smudge at the {thing.place}"
        if thing.smudged
        else f"a {'' if short else thing.color + ' '}{thing.kind} at the {thing.place}"
        for thing in scene.things
    )


def visual_turns(scene: Scene, rng: Generator, count: int, weights: tuple[float, ...] | None = None) -> list[Turn]:
    """Returns ``count`` questions of the bundled tasks about ``scene``, with their answers.

    Only one question of a group is asked, so that no rotation reveals the answer to another.
    """
    turns: list[Turn] = []
    while len(turns) < 2 * count:
        task = TASKS[int(rng.choice(len(TASKS), p=weights))]
        group = task.ask(scene, rng)
        if group:
            question = pick(rng, group)
            turns += exchange(question.text, question.answer)
    return turns


def drill_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """Returns one question that needs a single look-up, by content or by place; all tasks consist of these.

    Drills are asked alone at first, because a mixture of all tasks from the start leaves look-ups by content at chance.
    """
    thing = pick(rng, scene.clear)
    colors, kinds = [t.color for t in scene.clear], [t.kind for t in scene.clear]
    form = pick(rng, ("color", "color", "kind", "presence", "presence", "where", "place", "choice", "choice"))
    if form == "color" and kinds.count(thing.kind) == 1:
        return exchange(f"what color is the {thing.kind} ?", thing.color)
    if form == "kind" and colors.count(thing.color) == 1:
        return exchange(f"what is the {thing.color} thing ?", thing.kind)
    if form == "where" and kinds.count(thing.kind) == 1:
        return exchange(f"where is the {thing.kind} ?", thing.place)
    if form == "presence":
        return _presence(scene, rng)
    asks_color = rng.random() < 0.5
    text = f"what color is the thing at the {thing.place} ?" if asks_color else f"what is at the {thing.place} ?"
    answer = thing.color if asks_color else thing.kind
    if form == "choice":
        pool = COLORS if asks_color else DIGITS if thing.is_digit else SHAPES
        question = choice(rng, text, answer, pool, int(rng.integers(2, 5)))
        text, answer = question.text, question.answer
    return exchange(text, answer)


def choice_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """Returns one multiple-choice question that needs a single look-up; half of these have only two options."""
    thing = pick(rng, scene.clear)
    color_questions = [
        f"what color is {phrase} ?" for phrase in ("the thing at the " + thing.place, *names(scene, thing, "color"))
    ]
    kind_questions = [f"what is {phrase} ?" for phrase in ("at the " + thing.place, *names(scene, thing, "kind"))]
    candidates: list[tuple[str, str, tuple[str, ...]]] = [(text, thing.color, COLORS) for text in color_questions]
    candidates += [(text, thing.kind, DIGITS if thing.is_digit else SHAPES) for text in kind_questions]
    if thing_name := name(scene, thing, rng):
        candidates.append((f"where is {thing_name} ?", thing.place, PLACES))
    text, answer, pool = pick(rng, candidates)
    question = choice(rng, text, answer, pool, pick(rng, (2, 2, 3, 4)))
    return exchange(question.text, question.answer)


def _presence(scene: Scene, rng: Generator) -> list[Turn]:
    thing = pick(rng, scene.clear)
    if rng.random() < 0.5:
        description = pick(rng, (thing.kind, f"{thing.color} thing"))
        return exchange(f"is there a {description} ?", "yes")
    kind = pick(rng, others(SHAPES + DIGITS, *(t.kind for t in scene.clear)))
    color = pick(rng, others(COLORS, *(t.color for t in scene.clear)))
    return exchange(f"is there a {pick(rng, (kind, f'{color} thing'))} ?", "no")


def _badge_fact(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    (color, shape), country = pick(rng, tuple(BADGE.items()))
    facts: dict[str, Any] = {"country": BADGE, "capital": CAPITALS, "continent": CONTINENT}
    relation = pick(rng, ("country", "country", "capital", "continent"))
    answer = country if relation == "country" else facts[relation][country]
    return f"what {relation} has the badge of the {color} {shape} ?", answer, tuple(facts[relation].values())


def _country_fact(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    relation, facts = pick(rng, (("capital", CAPITALS), ("continent", CONTINENT)))
    country = pick(rng, tuple(facts))
    return f"what is the {relation} of {country} ?", facts[country], tuple(dict.fromkeys(facts.values()))


def _color_fact(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    relation = pick(rng, tuple(BY_COLOR))
    color = pick(rng, tuple(BY_COLOR[relation]))
    return f"what {relation} is {color} ?", BY_COLOR[relation][color], tuple(BY_COLOR[relation].values())


def _shape_fact(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    shape = pick(rng, tuple(SIDES))
    if rng.random() < 0.5:
        return f"how many sides has the {shape} ?", SIDES[shape], tuple(dict.fromkeys(SIDES.values()))
    return f"what object has the shape of the {shape} ?", OBJECT[shape], tuple(OBJECT.values())


def _number_fact(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    a, b = (str(n) for n in rng.integers(10, size=2))
    form = pick(rng, ("sum", "sum", "larger", "double", "roman"))
    if form == "sum":
        return f"what is the sum of {a} and {b} ?", str(int(a) + int(b)), tuple(str(n) for n in range(19))
    if form == "larger":
        return f"what is larger {a} and {b} ?", str(max(int(a), int(b))), tuple(str(n) for n in range(10))
    if form == "double":
        return f"what is the double of {a} ?", DOUBLE[a], tuple(DOUBLE.values())
    return f"what is the roman numeral of {a} ?", ROMAN[a], tuple(ROMAN.values())


FACTS: tuple[Callable[[Generator], tuple[str, str, tuple[str, ...]]], ...] = (
    _badge_fact,
    _country_fact,
    _color_fact,
    _shape_fact,
    _number_fact,
)


def fact_turns(rng: Generator, count: int) -> list[Turn]:
    """Returns ``count`` questions that need no picture, with their answers; a third are multiple choice."""
    turns: list[Turn] = []
    for _ in range(count):
        text, answer, pool = FACTS[int(rng.choice(len(FACTS), p=(0.35, 0.2, 0.15, 0.1, 0.2)))](rng)
        if rng.random() < 1 / 3:
            question = choice(rng, text, answer, tuple(dict.fromkeys(pool)))
            text, answer = question.text, question.answer
        turns += exchange(text, answer)
    return turns


def calibration_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """Returns a caption and a question in random order, like a ShareGPT4V sample.

    There are fewer text tokens than visual ones.
    """
    caption_dialogue = exchange("describe the picture .", caption(scene, rng))
    return [turn for dialogue in shuffled(rng, [caption_dialogue, visual_turns(scene, rng, 1)]) for turn in dialogue]
