"""Knowledge about what is seen, as in OK-VQA."""

from collections.abc import Iterator

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.facts import RELATIONS, Fact, fact
from atv.everyday.scenes import Item, Scene
from atv.everyday.tasks.base import phrases


def told(scene: Scene, item: Item) -> list[Fact]:
    """The facts that may be asked of a thing in the scene: in training those of training, elsewhere all others."""
    split = "train" if scene.split == "train" else "test"
    known = (fact(item.thing, relation) for relation in RELATIONS)
    return [found for found in known if found is not None and found.split == split]


def singled_out(scene: Scene) -> Iterator[tuple[Fact, Item]]:
    """Facts that hold of one thing of the scene and of no other: what "which of these ..." may ask for.

    In training the others' facts are of training as well.
    """
    for item in scene.things:
        for found in told(scene, item):
            rest = [fact(other.thing, found.relation.name) for other in scene.things if other is not item]
            if len(rest) < 1 or any(other is None or other.answer == found.answer for other in rest):
                continue
            if scene.split != "train" or all(other and other.split == "train" for other in rest):
                yield found, item


class Knowledge(Task):
    """Facts that the picture only points to: "Can the thing at the top left fly?", "Which of these can you wear?"."""

    name = "knowledge"
    mirrors = "OK-VQA"
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
