"""Knowledge about what is seen, as in OK-VQA."""

from collections.abc import Mapping

from numpy.random import Generator

from atv.bundled.facts import BADGE, BY_COLOR, OBJECT, ROMAN, SIDES
from atv.bundled.scenes import Scene, pick
from atv.bundled.tasks.base import Task, TaskQuestion, others, reference


class Knowledge(Task):
    """Facts that the picture only points to: "what country has the badge ...", "what fruit has the color of ..."."""

    name = "knowledge"
    mirrors = "OK-VQA"
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
        doubts = [pick(rng, others(tuple(table.values()), answer)) for _ in range(10 - agreeing)]
        return (TaskQuestion(text, answer, answers=(answer,) * agreeing + tuple(doubts)),)
