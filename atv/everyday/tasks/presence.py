"""Yes/no presence with balanced negatives, as in POPE."""

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.scenes import Scene
from atv.everyday.tasks.base import absent_thing, with_article


class Presence(Task):
    """ "Is there a cat in the picture?": half are absent, and half of those are of a kind that is seen."""

    name = "presence"
    mirrors = "POPE"
    metric = "YesNo"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if not scene.things:
            return ()
        present = rng.random() < 0.5
        thing = pick(rng, scene.things).thing if present else absent_thing(scene, rng)
        category = "present" if present else "alike" if _alike(scene, thing.kind) else "random"
        text = f"Is there {with_article(thing)} in the picture?".replace("Is there some", "Are there any")
        return (TaskQuestion(text, "yes" if present else "no", category=category),)


def _alike(scene: Scene, kind: str) -> bool:
    return any(item.thing.kind == kind for item in scene.things)
