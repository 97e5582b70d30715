"""Captions, dialogues and facts without a picture: what the bundled model learns from and is calibrated on."""

from collections.abc import Callable
from typing import Literal, TypedDict

from numpy.random import Generator

from atv.bundled.knowledge import BADGE, BY_COLOR, CAPITALS, CONTINENT, DOUBLE, OBJECT, ROMAN, SIDES
from atv.bundled.scenes import Scene, pick, shuffled
from atv.bundled.tasks import TASKS
from atv.bundled.tasks.base import choice


class Turn(TypedDict):
    """One turn of a dialogue."""

    role: Literal["user", "assistant"]
    text: str


def exchange(question: str, answer: str) -> list[Turn]:
    """A question and its answer as two turns."""
    return [{"role": "user", "text": question}, {"role": "assistant", "text": answer}]


def caption(scene: Scene, rng: Generator) -> str:
    """Every thing with its colour and place, in reading order; half the time only kinds and places."""
    short = rng.random() < 0.3
    return " . ".join(
        f"a smudge at the {t.place}" if t.smudged else f"a {'' if short else t.color + ' '}{t.kind} at the {t.place}"
        for t in scene.things
    )


def visual_turns(scene: Scene, rng: Generator, count: int, weights: tuple[float, ...] | None = None) -> list[Turn]:
    """``count`` questions of the bundled tasks about ``scene``, with their answers.

    Only one question of a group is asked, so that no rotation gives another away.
    """
    turns: list[Turn] = []
    while len(turns) < 2 * count:
        task = TASKS[int(rng.choice(len(TASKS), p=weights))]
        group = task.ask(scene, rng)
        if group:
            question = pick(rng, group)
            turns += exchange(question.text, question.answer)
    return turns


def _badge(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    (color, shape), country = pick(rng, tuple(BADGE.items()))
    facts = {"country": BADGE, "capital": CAPITALS, "continent": CONTINENT}
    relation = pick(rng, ("country", "country", "capital", "continent"))
    answer = country if relation == "country" else facts[relation][country]  # type: ignore[index]
    return f"what {relation} has the badge of the {color} {shape} ?", answer, tuple(facts[relation].values())


def _country(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    relation, facts = pick(rng, (("capital", CAPITALS), ("continent", CONTINENT)))
    country = pick(rng, tuple(facts))
    return f"what is the {relation} of {country} ?", facts[country], tuple(dict.fromkeys(facts.values()))


def _color(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    relation = pick(rng, tuple(BY_COLOR))
    color = pick(rng, tuple(BY_COLOR[relation]))
    return f"what {relation} is {color} ?", BY_COLOR[relation][color], tuple(BY_COLOR[relation].values())


def _shape(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    shape = pick(rng, tuple(SIDES))
    if rng.random() < 0.5:
        return f"how many sides has the {shape} ?", SIDES[shape], tuple(dict.fromkeys(SIDES.values()))
    return f"what object has the shape of the {shape} ?", OBJECT[shape], tuple(OBJECT.values())


def _number(rng: Generator) -> tuple[str, str, tuple[str, ...]]:
    a, b = (str(n) for n in rng.integers(10, size=2))
    form = pick(rng, ("sum", "sum", "larger", "double", "roman"))
    if form == "sum":
        return f"what is the sum of {a} and {b} ?", str(int(a) + int(b)), tuple(str(n) for n in range(19))
    if form == "larger":
        return f"what is larger {a} and {b} ?", str(max(int(a), int(b))), tuple(str(n) for n in range(10))
    if form == "double":
        return f"what is the double of {a} ?", DOUBLE[a], tuple(DOUBLE.values())
    return f"what is the roman numeral of {a} ?", ROMAN[a], tuple(ROMAN.values())


FACTS: tuple[Callable[[Generator], tuple[str, str, tuple[str, ...]]], ...] = (_badge, _country, _color, _shape, _number)


def fact_turns(rng: Generator, count: int) -> list[Turn]:
    """``count`` questions that need no picture; a third of them multiple choice."""
    turns: list[Turn] = []
    for _ in range(count):
        text, answer, pool = FACTS[int(rng.choice(len(FACTS), p=(0.35, 0.2, 0.15, 0.1, 0.2)))](rng)
        if rng.random() < 1 / 3:
            question = choice(rng, text, answer, tuple(dict.fromkeys(pool)))
            text, answer = question.text, question.answer
        turns += exchange(text, answer)
    return turns


def calibration_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """A caption and a question in either order, like a ShareGPT4V sample; fewer text tokens than visual ones."""
    describe = exchange("describe the picture .", caption(scene, rng))
    return [turn for pair in shuffled(rng, [describe, visual_turns(scene, rng, 1)]) for turn in pair]
