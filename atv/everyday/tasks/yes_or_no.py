"""Tasks that are answered with yes or no: presence with balanced negatives, and pairs of a true and a false claim."""

from numpy.random import Generator

from atv.bundled.scenes import DIGITS, pick
from atv.bundled.tasks.base import Task, TaskQuestion, others, paired
from atv.everyday.scenes import PLACES, WORDS, Scene
from atv.everyday.tasks.base import absent_thing, at, phrases, unique, with_article
from atv.everyday.tasks.in_words import told

CATEGORIES = ("existence", "count", "position", "identity", "reading", "commonsense", "calculation")
NUMBERS = ("one", "two", "three", "four", "five", "six")


class Presence(Task):
    """As in POPE: questions such as "Is there a cat in the picture?".

    Half of them ask about something absent, and half of those about a kind that the picture shows.
    """

    metric = "YesNo"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if not scene.things:
            return ()
        present = rng.random() < 0.5
        thing = pick(rng, scene.things).thing if present else absent_thing(scene, rng)
        kinds = {item.thing.kind for item in scene.things}
        category = "present" if present else "alike" if thing.kind in kinds else "random"
        text = f"Is there {with_article(thing)} in the picture?".replace("Is there some", "Are there any")
        return (TaskQuestion(text, "yes" if present else "no", category=category),)


class Paired(Task):
    """As in MME: a yes question and a no question per picture; acc+ counts pairs with both answers right."""

    metric = "PairedYesNo"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        category = pick(rng, CATEGORIES)
        return paired(_claims(category, scene, rng), category, rng)


def _claims(category: str, scene: Scene, rng: Generator) -> tuple[str, str] | None:
    """Returns a true and a false claim of the category, or None if the scene offers none."""
    if category == "reading":
        return _reading(scene, rng)
    if category == "calculation":
        return _calculation(scene, rng)
    if not scene.things:
        return None
    item = pick(rng, scene.things)
    if category == "existence":
        truth, lie = with_article(item.thing), with_article(absent_thing(scene, rng))
        return f"Does the picture show {truth}?", f"Does the picture show {lie}?"
    if category == "count":
        count = len(scene.items)
        wrong = pick(rng, [other for other in range(1, 7) if other != count])
        form = "Is the number of things in the picture {}?"
        return form.format(NUMBERS[count - 1]), form.format(NUMBERS[wrong - 1])
    if category == "position":
        if item not in unique(scene):
            return None
        form = f"Is the {item.name} {{}}?"
        return form.format(at(item.place)), form.format(at(pick(rng, others(PLACES, item.place))))
    if category == "identity":
        form, lie = f"Is the thing {at(item.place)} {{}}?", with_article(absent_thing(scene, rng))
        return form.format(with_article(item.thing)), form.format(lie)
    return _commonsense(scene, rng)


def _reading(scene: Scene, rng: Generator) -> tuple[str, str] | None:
    written = [*scene.words, *scene.digits]
    if not written:
        return None
    item = pick(rng, written)
    kind, pool = ("word", WORDS) if item.form == "word" else ("number", DIGITS)
    form = f'Is the {kind} {at(item.place)} "{{}}"?'
    return form.format(item.name), form.format(pick(rng, others(pool, item.name)))


def _calculation(scene: Scene, rng: Generator) -> tuple[str, str] | None:
    if not scene.digits:
        return None
    item = pick(rng, scene.digits)
    smaller, larger = (int(item.name) - int(step) for step in (rng.integers(1, 5), -rng.integers(1, 5)))
    form = f"Is the number {at(item.place)} larger than {{}}?"
    return (form.format(smaller), form.format(larger)) if smaller >= 0 else None


def _commonsense(scene: Scene, rng: Generator) -> tuple[str, str] | None:
    """Returns a yes question and a no question about a fact that is true of one thing and false of another."""
    asked = [(item, found) for item in scene.things for found in told(scene, item)]
    claims = {answer: [(item, found) for item, found in asked if found.answer == answer] for answer in ("yes", "no")}
    relations = {found.relation.name for _, found in claims["yes"]} & {found.relation.name for _, found in claims["no"]}
    if not relations:
        return None
    relation = pick(rng, sorted(relations))
    chosen = [pick(rng, [c for c in claims[answer] if c[1].relation.name == relation]) for answer in ("yes", "no")]
    yes, no = (found.relation.about_the(pick(rng, phrases(scene, item, by_name=False))) for item, found in chosen)
    return yes, no
