"""Tasks that are answered in words: knowledge, unanswerable questions, reading and relations."""

from collections.abc import Iterator

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.facts import RELATIONS, Fact, fact
from atv.everyday.scenes import Item, Scene
from atv.everyday.tasks.base import STEPS, absent_thing, at, empty_places, neighbors, phrases, unique

UNANSWERABLE = "unanswerable"


def facts_to_ask(scene: Scene, item: Item) -> list[Fact]:
    """Returns the facts to ask about a thing in the scene: training facts in training, test facts elsewhere."""
    split = "train" if scene.split == "train" else "test"
    thing_facts = (fact(item.thing, relation) for relation in RELATIONS)
    return [thing_fact for thing_fact in thing_facts if thing_fact is not None and thing_fact.split == split]


def singled_out(scene: Scene) -> Iterator[tuple[Fact, Item]]:
    """Yields facts that hold for only one thing in the scene, which "which of these ..." may therefore ask for.

    In training, the facts of the other things are training facts as well.
    """
    for item in scene.things:
        for thing_fact in facts_to_ask(scene, item):
            other_facts = [fact(other.thing, thing_fact.relation.name) for other in scene.things if other is not item]
            if len(other_facts) < 1 or any(other is None or other.answer == thing_fact.answer for other in other_facts):
                continue
            if scene.split != "train" or all(other and other.split == "train" for other in other_facts):
                yield thing_fact, item


class Knowledge(Task):
    """As in OK-VQA: facts that the picture only points to, such as "Can the thing at the top left fly?"."""

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        sole_facts = list(singled_out(scene))
        if sole_facts and rng.random() < 0.4:
            thing_fact, item = pick(rng, sole_facts)
            return (TaskQuestion(thing_fact.relation.which_questions[thing_fact.answer], item.name, category="which"),)
        thing_facts = [(thing_fact, item) for item in scene.things for thing_fact in facts_to_ask(scene, item)]
        if not thing_facts:
            return ()
        thing_fact, item = pick(rng, thing_facts)
        reference = pick(rng, phrases(scene, item, by_name=False))
        return (
            TaskQuestion(
                thing_fact.relation.about_the(reference), thing_fact.answer, category=thing_fact.relation.name
            ),
        )


class Unanswerable(Task):
    """As in VizWiz: half of the questions ask about something absent or blurred, or about an empty area.

    The right answer to these is "unanswerable".
    """

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if rng.random() < 0.5:
            return (TaskQuestion(_unanswerable_question(scene, rng), UNANSWERABLE, category=UNANSWERABLE),)
        item = pick(rng, scene.clear)
        opening = {"thing": "What is", "word": "What word is", "digit": "What number is"}[item.form]
        answerable_questions = [(f"{opening} {at(item.place)}?", item.name)]
        answerable_questions += [
            (f"What is {phrase}?", neighbor.name)
            for anchor in unique(scene)
            for phrase, neighbor in neighbors(scene, anchor)
            if neighbor.form == "thing"
        ]
        text, answer = pick(rng, answerable_questions)
        return (TaskQuestion(text, answer, category="other"),)


def _unanswerable_question(scene: Scene, rng: Generator) -> str:
    opening = pick(rng, ("What is", "What is", "What word is", "What number is"))
    questions = [f"{opening} {at(pick(rng, empty_places(scene)))}?"]
    questions += [f"{opening} {at(item.place)}?" for item in scene.items if item.blurred]
    questions.append(f"What is {pick(rng, tuple(STEPS))} the {absent_thing(scene, rng).name}?")
    questions.append(f"Where is the {absent_thing(scene, rng).name}?")
    return pick(rng, questions)


class Reading(Task):
    """As in TextVQA: one word or digit, identified by its place, by its neighbour, or as the only one."""

    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        written_items = [*scene.words, *scene.digits]
        if not written_items:
            return ()
        item = pick(rng, written_items)
        noun, same_form = ("word", scene.words) if item.form == "word" else ("number", scene.digits)
        questions = [f"What {noun} is {at(item.place)}?"]
        if len(same_form) == 1:
            questions.append(f"What {noun} is in the picture?")
        for anchor in unique(scene):
            questions += [
                f"What {noun} is {phrase}?" for phrase, neighbor in neighbors(scene, anchor) if neighbor is item
            ]
        return (TaskQuestion(pick(rng, questions), item.name, category=noun),)


class Relations(Task):
    """As in GQA: what is next to a named thing, on which side of another thing it is, or where it is in the picture."""

    metric = "ExactMatch"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        unique_items = unique(scene)
        questions = [
            (f"What is {phrase}?", neighbor.name, "neighbor")
            for anchor in unique_items
            for phrase, neighbor in neighbors(scene, anchor)
            if neighbor.form == "thing"
        ]
        if unique_items and (not questions or rng.random() < 0.3):
            item = pick(rng, unique_items)
            return (TaskQuestion(f"Where is the {item.name}?", item.place, category="place"),)
        if len(unique_items) > 1 and rng.random() < 0.4:
            first_item, second_item = (unique_items[index] for index in rng.permutation(len(unique_items))[:2])
            if first_item.row != second_item.row:
                side, text = ("above" if first_item.row < second_item.row else "below"), "above or below"
            else:
                side, text = ("left" if first_item.column < second_item.column else "right"), "left or right of"
            return (TaskQuestion(f"Is the {first_item.name} {text} the {second_item.name}?", side, category="side"),)
        if not questions:
            return ()
        text, answer, category = pick(rng, questions)
        return (TaskQuestion(text, answer, category=category),)
