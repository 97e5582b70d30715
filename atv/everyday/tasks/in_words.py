"""Tasks that are answered in words: knowledge, unanswerable questions, reading and relations."""

from collections.abc import Iterator

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.facts import RELATIONS, Fact, fact
from atv.everyday.scenes import Item, Scene
from atv.everyday.tasks.base import STEPS, absent_thing, at, empty_places, neighbors, phrases, unique

UNANSWERABLE = "unanswerable"


def told(scene: Scene, item: Item) -> list[Fact]:
    """Returns the facts to ask about a thing in the scene: training facts in training, test facts elsewhere."""
    split = "train" if scene.split == "train" else "test"
    known = (fact(item.thing, relation) for relation in RELATIONS)
    return [found for found in known if found is not None and found.split == split]


def singled_out(scene: Scene) -> Iterator[tuple[Fact, Item]]:
    """Yields facts that hold for only one thing in the scene, which "which of these ..." may therefore ask for.

    In training, the facts of the other things are training facts as well.
    """
    for item in scene.things:
        for found in told(scene, item):
            rest = [fact(other.thing, found.relation.name) for other in scene.things if other is not item]
            if len(rest) < 1 or any(other is None or other.answer == found.answer for other in rest):
                continue
            if scene.split != "train" or all(other and other.split == "train" for other in rest):
                yield found, item


class Knowledge(Task):
    """As in OK-VQA: facts that the picture only points to, such as "Can the thing at the top left fly?"."""

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        which = list(singled_out(scene))
        if which and rng.random() < 0.4:
            found, item = pick(rng, which)
            return (TaskQuestion(found.relation.which[found.answer], item.name, category="which"),)
        asked = [(found, item) for item in scene.things for found in told(scene, item)]
        if not asked:
            return ()
        found, item = pick(rng, asked)
        reference = pick(rng, phrases(scene, item, by_name=False))
        return (TaskQuestion(found.relation.about_the(reference), found.answer, category=found.relation.name),)


class Unanswerable(Task):
    """As in VizWiz: half of the questions ask about something absent or blurred, or about an empty area.

    The right answer to these is "unanswerable".
    """

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if rng.random() < 0.5:
            return (TaskQuestion(_missing(scene, rng), UNANSWERABLE, category=UNANSWERABLE),)
        item = pick(rng, scene.clear)
        asked = {"thing": "What is", "word": "What word is", "digit": "What number is"}[item.form]
        found = [(f"{asked} {at(item.place)}?", item.name)]
        found += [
            (f"What is {phrase}?", neighbor.name)
            for anchor in unique(scene)
            for phrase, neighbor in neighbors(scene, anchor)
            if neighbor.form == "thing"
        ]
        text, answer = pick(rng, found)
        return (TaskQuestion(text, answer, category="other"),)


def _missing(scene: Scene, rng: Generator) -> str:
    asked = pick(rng, ("What is", "What is", "What word is", "What number is"))
    forms = [f"{asked} {at(pick(rng, empty_places(scene)))}?"]
    forms += [f"{asked} {at(item.place)}?" for item in scene.items if item.blurred]
    forms.append(f"What is {pick(rng, tuple(STEPS))} the {absent_thing(scene, rng).name}?")
    forms.append(f"Where is the {absent_thing(scene, rng).name}?")
    return pick(rng, forms)


class Reading(Task):
    """As in TextVQA: one word or digit, identified by its place, by its neighbour, or as the only one."""

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        written = [*scene.words, *scene.digits]
        if not written:
            return ()
        item = pick(rng, written)
        kind, alike = ("word", scene.words) if item.form == "word" else ("number", scene.digits)
        forms = [f"What {kind} is {at(item.place)}?"]
        if len(alike) == 1:
            forms.append(f"What {kind} is in the picture?")
        for anchor in unique(scene):
            forms += [f"What {kind} is {phrase}?" for phrase, near in neighbors(scene, anchor) if near is item]
        return (TaskQuestion(pick(rng, forms), item.name, category=kind),)


class Relations(Task):
    """As in GQA: what is next to a named thing, on which side of another thing it is, or where it is in the picture."""

    metric = "ExactMatch"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        alone = unique(scene)
        forms = [
            (f"What is {phrase}?", neighbor.name, "neighbor")
            for anchor in alone
            for phrase, neighbor in neighbors(scene, anchor)
            if neighbor.form == "thing"
        ]
        if alone and (not forms or rng.random() < 0.3):
            item = pick(rng, alone)
            return (TaskQuestion(f"Where is the {item.name}?", item.place, category="place"),)
        if len(alone) > 1 and rng.random() < 0.4:
            first, second = (alone[index] for index in rng.permutation(len(alone))[:2])
            if first.row != second.row:
                side, text = ("above" if first.row < second.row else "below"), "above or below"
            else:
                side, text = ("left" if first.column < second.column else "right"), "left or right of"
            return (TaskQuestion(f"Is the {first.name} {text} the {second.name}?", side, category="side"),)
        if not forms:
            return ()
        text, answer, category = pick(rng, forms)
        return (TaskQuestion(text, answer, category=category),)
