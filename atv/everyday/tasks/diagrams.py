"""Multiple choice about what is seen and what is known of it, as in ScienceQA-IMG."""

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.scenes import PLACES, Scene
from atv.everyday.tasks.base import at, choice, phrases, unique, wrong_names
from atv.everyday.tasks.knowledge import singled_out, told


class Diagrams(Task):
    """Two to four options about one thing: what it is, where it is, or a fact about it."""

    name = "diagrams"
    mirrors = "ScienceQA-IMG"
    metric = "LetterChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        count = int(rng.integers(2, 5))
        which = [(f.relation.which[f.answer], i, [o.name for o in scene.things]) for f, i in singled_out(scene)]
        facts = [(f, item) for item in scene.things for f in told(scene, item) if len(f.relation.answers) > 2]
        form = pick(rng, ("what", "where", "which", "fact"))
        if form == "which" and which:
            text, item, names = pick(rng, which)
            return (choice(rng, text, item.name, names, count),)
        if form == "fact" and facts:
            found, item = pick(rng, facts)
            text = found.relation.about_the(pick(rng, phrases(scene, item, by_name=False)))
            return (choice(rng, text, found.answer, found.relation.answers, count),)
        if form == "where" and unique(scene):
            item = pick(rng, unique(scene))
            return (choice(rng, f"Where is the {item.name}?", item.place, PLACES, count),)
        if not scene.things:
            return ()
        item = pick(rng, scene.things)
        return (choice(rng, f"What is {at(item.place)}?", item.name, wrong_names(scene, rng, item), count),)
