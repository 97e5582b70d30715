"""Answers questions about everyday scenes from the scene and the question's words alone; it knows no task."""

import re

from atv.everyday.facts import RELATIONS, fact
from atv.everyday.scenes import PLACES
from atv.everyday.tasks.choices import where_is
from atv.everyday.things import THINGS

STEPS = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
PLACE = "(" + "|".join(sorted(PLACES, key=len, reverse=True)) + ")"
STEP = "(" + "|".join(STEPS) + ")"
NAME = "(" + "|".join(sorted((re.escape(thing.name) for thing in THINGS), key=len, reverse=True)) + ")"
AN = "(?:an?|some|any) "


def answer(scene, text):
    """The right answer; a letter where the question has options."""
    question, *options = text.split("\n")
    said = _open(scene, question)
    if not options:
        return said
    letters = {option[3:]: option[0] for option in options}
    return letters.get(said, f"{said} is no option of {sorted(letters)}")


def _open(scene, question):
    for pattern, solve in _FORMS:
        found = re.fullmatch(pattern, question)
        if found:
            return solve(scene, *found.groups())
    return _fact(scene, question)


def _at(scene, place):
    item = next((item for item in scene.items if item.place == place), None)
    return None if item is None or item.blurred else item


def _beside(scene, step, name):
    anchors = [item for item in scene.clear if item.form == "thing" and item.name == name]
    if len(anchors) != 1:
        return None
    rows, columns = STEPS[step]
    item = scene.at(anchors[0].row + rows, anchors[0].column + columns)
    return None if item is None or item.blurred else item


def _name(item, form=None):
    return "unanswerable" if item is None or (form and item.form != form) else item.name


def _written(kind):
    return {"word": "word", "number": "digit"}[kind]


def _where(scene, name):
    places = [item.place for item in scene.clear if item.form == "thing" and item.name == name]
    return places[0] if len(places) == 1 else "unanswerable"


def _yes(truth):
    return "yes" if truth else "no"


def _shown(scene, name):
    return _yes(any(item.form == "thing" and item.name == name for item in scene.clear))


def _side(scene, first, words, second):
    one, two = (next(item for item in scene.things if item.name == name) for name in (first, second))
    if words == "above or below":
        return "above" if one.row < two.row else "below"
    return "left" if one.column < two.column else "right"


def _count(scene, kind):
    return str(sum(fact(item.thing, "kind").answer == kind for item in scene.things))


def _fact(scene, question):
    """A relation's question about one thing of the scene, or which of them has an answer."""
    for relation in RELATIONS.values():
        for answer, which in relation.which_questions.items():
            holders = [
                item for item in scene.things if (known := fact(item.thing, relation.name)) and known.answer == answer
            ]
            if question == which:
                return holders[0].name if len(holders) == 1 else f"{len(holders)} hold"
            if question == where_is(which):
                return holders[0].place if len(holders) == 1 else f"{len(holders)} hold"
        for reference, item in _references(scene):
            if question == relation.about_the(reference):
                known = fact(item.thing, relation.name)
                return known.answer if known else "no such fact"
    return f"no form fits {question!r}"


def _references(scene):
    for item in scene.things:
        yield f"the thing {'in' if item.place == 'center' else 'at'} the {item.place}", item
        for name in {thing.name for thing in scene.things}:
            for step in STEPS:
                if _beside(scene, step, name) is item:
                    yield f"the thing {step} the {name}", item


_FORMS = (
    (rf"What is (?:at|in) the {PLACE}\?", lambda s, place: _name(_at(s, place))),
    (rf"What (word|number) is (?:at|in) the {PLACE}\?", lambda s, kind, place: _name(_at(s, place), _written(kind))),
    (rf"What is {STEP} the {NAME}\?", lambda s, step, name: _name(_beside(s, step, name))),
    (
        rf"What (word|number) is {STEP} the {NAME}\?",
        lambda s, kind, step, name: _name(_beside(s, step, name), _written(kind)),
    ),
    (
        r"What (word|number) is in the picture\?",
        lambda s, kind: next(item.name for item in s.clear if item.form == _written(kind)),
    ),
    (rf"Where is the {NAME}\?", _where),
    (rf"(?:Is|Are) there {AN}{NAME} in the picture\?", _shown),
    (rf"Does the picture show {AN}{NAME}\?", _shown),
    (rf"Is the {NAME} (above or below|left or right of) the {NAME}\?", _side),
    (r"Is the number of things in the picture (\w+)\?", lambda s, word: _yes(len(s.items) == NUMBERS[word])),
    (rf"Is the {NAME} (?:at|in) the {PLACE}\?", lambda s, name, place: _yes(_where(s, name) == place)),
    (rf"Is the thing (?:at|in) the {PLACE} {AN}{NAME}\?", lambda s, place, name: _yes(_name(_at(s, place)) == name)),
    (
        rf'Is the (word|number) (?:at|in) the {PLACE} "(\w+)"\?',
        lambda s, kind, place, said: _yes(_name(_at(s, place), _written(kind)) == said),
    ),
    (
        rf"Is the number (?:at|in) the {PLACE} larger than (\d+)\?",
        lambda s, place, bound: _yes(int(_at(s, place).name) > int(bound)),
    ),
    (r"How many things are a kind of (\w+)\?", _count),
    (r"What is the sum of the two numbers\?", lambda s: str(sum(int(digit.name) for digit in s.digits))),
)
