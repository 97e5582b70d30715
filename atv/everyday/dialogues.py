"""Captions and dialogues about everyday scenes, for training and calibrating the everyday model."""

from collections.abc import Sequence

from numpy.random import Generator

from atv.bundled.dialogues import Turn, exchange
from atv.bundled.scenes import pick, shuffled
from atv.bundled.tasks.base import TaskQuestion
from atv.everyday.facts import facts
from atv.everyday.scenes import Item, Scene
from atv.everyday.tasks import TASKS
from atv.everyday.tasks.base import absent_thing, at, choice, unique, with_article


def described(item: Item) -> str:
    """Returns what a caption calls an item: "a cat", 'the word "bank"', "the number 4", "something blurred"."""
    if item.blurred:
        return "something blurred"
    if item.form == "thing":
        return with_article(item.thing)
    return f'the word "{item.name}"' if item.form == "word" else f"the number {item.name}"


def caption(scene: Scene, rng: Generator) -> str:
    """Returns a caption that names every item and its place, in reading order."""
    phrases = [f"{described(item)} {at(item.place)}" for item in scene.items]
    listing = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"{pick(rng, ('The picture shows', 'There is', 'I see'))} {listing}."


def caption_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """Returns a request for a caption, and the caption."""
    requests = ("Describe the picture.", "What does the picture show?", "What do you see?", "Write a caption.")
    return exchange(pick(rng, requests), caption(scene, rng))


def visual_turns(scene: Scene, rng: Generator, count: int, weights: Sequence[float] | None = None) -> list[Turn]:
    """Returns ``count`` questions of the tasks about ``scene`` with their answers, at most one from each group."""
    questions = [pick(rng, _random_group(scene, rng, weights)) for _ in range(count)]
    return [turn for question in questions for turn in exchange(question.text, question.answer)]


def contrasting_turns(scene: Scene, rng: Generator, weights: Sequence[float] | None = None) -> list[list[Turn]]:
    """Returns two questions of one group as separate dialogues, with similar words but different answers.

    A group with a single question gives one dialogue.
    """
    group = _random_group(scene, rng, weights)
    return [exchange(question.text, question.answer) for question in shuffled(rng, group)[:2]]


def _random_group(scene: Scene, rng: Generator, weights: Sequence[float] | None) -> tuple[TaskQuestion, ...]:
    """Returns a group of questions from a random task that finds something to ask about ``scene``."""
    while True:
        group = TASKS[int(rng.choice(len(TASKS), p=weights))].ask(scene, rng)
        if group:
            return group


def drill_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """Returns one question that needs a single look at the scene.

    It asks what is at a place, where an item is, whether a thing is present, or which letter names a thing.
    """
    item = pick(rng, scene.clear)
    opening = {"thing": "What is", "word": "What word is", "digit": "What number is"}[item.form]
    drills = [(f"{opening} {at(item.place)}?", item.name)]
    if item in unique(scene):
        drills.append((f"Where is the {item.name}?", item.place))
    if item.form == "thing":
        present = rng.random() < 0.5
        thing = item.thing if present else absent_thing(scene, rng)
        drills.append((f"Is there {with_article(thing)} in the picture?", "yes" if present else "no"))
        question = choice(
            rng, f"What is {at(item.place)}?", item.name, [absent_thing(scene, rng).name for _ in range(2)], 2
        )
        drills.append((question.text, question.answer))
    return exchange(*pick(rng, drills))


def fact_turns(rng: Generator) -> list[Turn]:
    """Returns a question about a training fact, by name and without a picture; a third have lettered options."""
    fact = pick(rng, facts(split="train"))
    question, answer = fact.question, fact.answer
    if rng.random() < 1 / 3:
        lettered_question = choice(rng, question, answer, fact.relation.answers)
        question, answer = lettered_question.text, lettered_question.answer
    return exchange(question, answer)


def calibration_turns(scene: Scene, rng: Generator) -> list[Turn]:
    """Returns a caption and two questions in random order, like a ShareGPT4V sample with a dialogue."""
    dialogues = [caption_turns(scene, rng), visual_turns(scene, rng, 1), visual_turns(scene, rng, 1)]
    return [turn for dialogue in shuffled(rng, dialogues) for turn in dialogue]
