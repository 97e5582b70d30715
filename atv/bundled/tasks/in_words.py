"""Tasks that are answered in words: knowledge, unanswerable questions, reading and relations."""

from collections.abc import Mapping

from numpy.random import Generator

from atv.bundled.facts import BADGE, BY_COLOR, OBJECT, ROMAN, SIDES
from atv.bundled.scenes import COLORS, DIGITS, ROWS, SHAPES, Scene, Thing, pick
from atv.bundled.tasks.base import PLACES, Task, TaskQuestion, name, names, others, reference

UNANSWERABLE = "unanswerable"
# Phrase -> offset (rows, columns) from the anchor to the thing.
STEPS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}


class Knowledge(Task):
    """As in OK-VQA: facts that the picture only points to: "what country has the badge of ...", "how many sides"."""

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        thing = pick(rng, scene.clear)
        by_kind, by_color = reference(scene, thing, rng, "kind"), reference(scene, thing, rng, "color")
        relation = pick(rng, tuple(BY_COLOR))
        fact = (f"what {relation} has the color of {by_color} ?", BY_COLOR[relation][thing.color], BY_COLOR[relation])
        facts: list[tuple[str, str, Mapping]] = [fact]
        if thing.is_digit:
            facts.append((f"what is the roman numeral of {by_kind} ?", ROMAN[thing.kind], ROMAN))
        else:
            facts.append((f"how many sides has {by_kind} ?", SIDES[thing.kind], SIDES))
            facts.append((f"what object has the shape of {by_kind} ?", OBJECT[thing.kind], OBJECT))
            badge = reference(scene, thing, rng, "both")
            facts += 2 * [(f"what country has the badge of {badge} ?", BADGE[thing.color, thing.kind], BADGE)]
        text, answer, table = pick(rng, facts)
        agreeing = int(rng.integers(6, 11))
        other_answers = [pick(rng, others(tuple(table.values()), answer)) for _ in range(10 - agreeing)]
        return (TaskQuestion(text, answer, answers=(answer,) * agreeing + tuple(other_answers)),)


class Unanswerable(Task):
    """As in VizWiz: half of the questions ask about something absent or smudged, or about an empty cell.

    The right answer to these is "unanswerable".
    """

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        asks_color = rng.random() < 0.5
        if rng.random() < 0.5:
            phrase_and_answer = _unanswerable_phrase(scene, rng, asks_color)
        else:
            thing = pick(rng, scene.clear)
            phrases = [f"at the {thing.place}", *names(scene, thing, "color" if asks_color else "kind")]
            phrase_and_answer = pick(rng, phrases), thing.color if asks_color else thing.kind
        phrase, answer = phrase_and_answer
        if phrase.startswith("at"):
            text = f"what color is the thing {phrase} ?" if asks_color else f"what is {phrase} ?"
        else:
            text = f"what color is {phrase} ?" if asks_color else f"what is {phrase} ?"
        return (TaskQuestion(text, answer, category="other" if answer != UNANSWERABLE else answer),)


def _unanswerable_phrase(scene: Scene, rng: Generator, asks_color: bool) -> tuple[str, str]:
    filled_places = {thing.place for thing in scene.clear}
    phrases = [f"at the {pick(rng, others(PLACES, *filled_places))}"]
    phrases += [f"at the {thing.place}" for thing in scene.things if thing.smudged]
    if asks_color:
        phrases.append(f"the {pick(rng, others(SHAPES + DIGITS, *(t.kind for t in scene.clear)))}")
    else:
        phrases.append(f"the {pick(rng, others(COLORS, *(t.color for t in scene.clear)))} thing")
    return pick(rng, phrases), UNANSWERABLE


class Reading(Task):
    """As in TextVQA: one handwritten digit, identified by place or colour, or all digits of a row, left to right."""

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if not scene.digits:
            return ()
        thing = pick(rng, scene.digits)
        row_digits = [digit.kind for digit in scene.digits if digit.row == thing.row]
        digit_colors = [digit.color for digit in scene.digits]
        if len(row_digits) > 1 and rng.random() < 0.7:
            text, answer = f"what is written in the {ROWS[thing.row]} row ?", " ".join(row_digits)
        elif digit_colors.count(thing.color) == 1 and rng.random() < 0.5:
            text, answer = f"what is the {thing.color} number ?", thing.kind
        else:
            text, answer = f"what number is at the {thing.place} ?", thing.kind
        return (TaskQuestion(text, answer),)


def neighbors(scene: Scene, anchor: Thing) -> list[tuple[str, Thing]]:
    """Returns (relation, thing) for every clear thing in a cell next to ``anchor``."""
    neighbor_cells = [
        (step, scene.at(anchor.row + row_offset, anchor.column + column_offset))
        for step, (row_offset, column_offset) in STEPS.items()
    ]
    return [(step, thing) for step, thing in neighbor_cells if thing is not None and not thing.smudged]


def related(scene: Scene, rng: Generator) -> tuple[str, Thing] | None:
    """Returns a phrase such as "the thing left of the star" and its thing, or None if the scene offers none."""
    candidates = [
        (f"the thing {step} {anchor_name}", thing)
        for anchor in scene.clear
        if (anchor_name := name(scene, anchor, rng))
        for step, thing in neighbors(scene, anchor)
    ]
    return pick(rng, candidates) if candidates else None


class Relations(Task):
    """As in GQA: the colour or kind of a thing next to a named one, or the colour of a thing by its kind or place."""

    metric = "ExactMatch"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        phrase_and_thing = related(scene, rng)
        if phrase_and_thing is None:
            return ()
        phrase, thing = phrase_and_thing
        if rng.random() < 0.4:
            thing = pick(rng, scene.clear)
            kind_is_unique = [t.kind for t in scene.clear].count(thing.kind) == 1
            phrase = f"the {thing.kind}" if kind_is_unique else f"the thing at the {thing.place}"
            return (TaskQuestion(f"what color is {phrase} ?", thing.color, category="attribute"),)
        if rng.random() < 0.5:
            return (TaskQuestion(f"what color is {phrase} ?", thing.color, category="relation"),)
        return (TaskQuestion(f"what is {phrase} ?", thing.kind, category="relation"),)
