"""Tasks that are answered with yes or no: presence with balanced negatives, and pairs of a true and a false claim."""

from numpy.random import Generator

from atv.bundled.facts import BY_COLOR
from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, pick
from atv.bundled.tasks.base import PLACES, Task, TaskQuestion, absent_look, name, others, paired, reference

PERCEPTION = ("existence", "count", "position", "color", "reading")
COGNITION = ("calculation", "commonsense")


class Presence(Task):
    """As in POPE: questions such as "is there a red star ?".

    Half of them ask about something absent, and some of those combine what different things show.
    """

    metric = "YesNo"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if scene.clear != scene.things:
            return ()
        form = pick(rng, ("look", "look", "kind", "color"))
        if rng.random() < 0.5:
            thing = pick(rng, scene.things)
            color, kind, answer = thing.color, thing.kind, "yes"
        else:
            color, kind = absent_look(scene, rng)
            if form != "look":
                color = pick(rng, others(COLORS, *(t.color for t in scene.things)))
                kind = pick(rng, others(SHAPES + DIGITS, *(t.kind for t in scene.things)))
            answer = "no"
        claim = {"look": f"{color} {kind}", "kind": kind, "color": f"{color} thing"}[form]
        return (TaskQuestion(f"is there a {claim} ?", answer, category=form),)


class Paired(Task):
    """As in MME: a yes question and a no question per picture; acc+ counts pairs with both answers right."""

    metric = "PairedYesNo"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if scene.clear != scene.things:
            return ()
        category = pick(rng, PERCEPTION + COGNITION)
        return paired(_claims(category, scene, rng), category, rng)


def _claims(category: str, scene: Scene, rng: Generator) -> tuple[str, str] | None:
    """Returns a true and a false claim of the category, or None if the scene offers none."""
    thing = pick(rng, scene.things)
    thing_name = name(scene, thing, rng)
    place = f"at the {thing.place}"
    if category == "existence":
        template, truth, lie = "is there a {} ?", f"{thing.color} {thing.kind}", " ".join(absent_look(scene, rng))
    elif category == "count":
        count = str(len(scene.things))
        template, truth, lie = "are there {} things ?", count, pick(rng, others(DIGITS[1:6], count))
    elif category == "position":
        template, truth, lie = f"is {thing_name} at the {{}} ?", thing.place, pick(rng, others(PLACES, thing.place))
    elif category == "color":
        template, truth, lie = f"is the thing {place} {{}} ?", thing.color, pick(rng, others(COLORS, thing.color))
    elif category == "reading":
        template, truth, lie = f"is the number {place} a {{}} ?", thing.kind, pick(rng, others(DIGITS, thing.kind))
    elif category == "calculation":
        double = str(2 * int(thing.kind)) if thing.is_digit else ""
        wrong_double = pick(rng, [str(2 * n) for n in range(10) if str(2 * n) != double])
        template, truth, lie = f"is the double of the number {place} {{}} ?", double, wrong_double
    else:
        relation = pick(rng, tuple(BY_COLOR))
        fact = BY_COLOR[relation][thing.color]
        template, truth, lie = (
            f"has {reference(scene, thing, rng, 'color')} the color of the {{}} ?",
            fact,
            pick(rng, others(tuple(BY_COLOR[relation].values()), fact)),
        )
    if (category == "position" and thing_name is None) or (
        category in ("reading", "calculation") and not thing.is_digit
    ):
        return None
    return template.format(truth), template.format(lie)
