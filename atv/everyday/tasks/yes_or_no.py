"""Tasks that are answered with yes or no: presence with balanced negatives, and pairs of a true and a false claim."""

from numpy.random import Generator

from atv.bundled.scenes import DIGITS, pick
from atv.bundled.tasks.base import Task, TaskQuestion, others, paired
from atv.everyday.scenes import PLACES, WORDS, Scene
from atv.everyday.tasks.base import absent_thing, at, phrases, unique, with_article
from atv.everyday.tasks.in_words import facts_to_ask

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
        return _reading_claims(scene, rng)
    if category == "calculation":
        return _calculation_claims(scene, rng)
    if not scene.things:
        return None
    item = pick(rng, scene.things)
    if category == "existence":
        truth, lie = with_article(item.thing), with_article(absent_thing(scene, rng))
        return f"Does the picture show {truth}?", f"Does the picture show {lie}?"
    if category == "count":
        count = len(scene.items)
        wrong_count = pick(rng, [candidate for candidate in range(1, 7) if candidate != count])
        template = "Is the number of things in the picture {}?"
        return template.format(NUMBERS[count - 1]), template.format(NUMBERS[wrong_count - 1])
    if category == "position":
        if item not in unique(scene):
            return None
        template = f"Is the {item.name} {{}}?"
        return template.format(at(item.place)), template.format(at(pick(rng, others(PLACES, item.place))))
    if category == "identity":
        template, lie = f"Is the thing {at(item.place)} {{}}?", with_article(absent_thing(scene, rng))
        return template.format(with_article(item.thing)), template.format(lie)
    return _commonsense_claims(scene, rng)


def _reading_claims(scene: Scene, rng: Generator) -> tuple[str, str] | None:
    written_items = [*scene.words, *scene.digits]
    if not written_items:
        return None
    item = pick(rng, written_items)
    noun, pool = ("word", WORDS) if item.form == "word" else ("number", DIGITS)
    template = f'Is the {noun} {at(item.place)} "{{}}"?'
    return template.format(item.name), template.format(pick(rng, others(pool, item.name)))


def _calculation_claims(scene: Scene, rng: Generator) -> tuple[str, str] | None:
    if not scene.digits:
        return None
    item = pick(rng, scene.digits)
    smaller, larger = (int(item.name) - int(difference) for difference in (rng.integers(1, 5), -rng.integers(1, 5)))
    template = f"Is the number {at(item.place)} larger than {{}}?"
    return (template.format(smaller), template.format(larger)) if smaller >= 0 else None


def _commonsense_claims(scene: Scene, rng: Generator) -> tuple[str, str] | None:
    """Returns a yes question and a no question about a fact that is true of one thing and false of another."""
    item_facts = [(item, fact) for item in scene.things for fact in facts_to_ask(scene, item)]
    claims = {answer: [(item, fact) for item, fact in item_facts if fact.answer == answer] for answer in ("yes", "no")}
    relations = {fact.relation.name for _, fact in claims["yes"]} & {fact.relation.name for _, fact in claims["no"]}
    if not relations:
        return None
    relation = pick(rng, sorted(relations))
    chosen_claims = [
        pick(rng, [claim for claim in claims[answer] if claim[1].relation.name == relation]) for answer in ("yes", "no")
    ]
    yes, no = (fact.relation.about_the(pick(rng, phrases(scene, item, by_name=False))) for item, fact in chosen_claims)
    return yes, no
