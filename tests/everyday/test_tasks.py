"""Tasks about everyday scenes: answerable by who sees the scene, and never asking in a test what training told."""

import numpy as np
import pytest
from everyday.solver import answer

from atv.everyday.dialogues import calibration_turns, caption, drill_turns, fact_turns
from atv.everyday.facts import RELATIONS, fact, facts
from atv.everyday.scenes import sample_scene
from atv.everyday.tasks import TASKS
from atv.everyday.tasks.choices import where_is


def asked(task, split, groups=60):
    """(scene, question) pairs of a task."""
    rng = np.random.default_rng(list(map(ord, task.name + split)))
    pairs = []
    while len(pairs) < groups:
        scene = sample_scene(rng, split)
        pairs += [(scene, question) for question in task.ask(scene, rng)]
    return pairs


@pytest.mark.parametrize("split", ["train", "test", "unseen"])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_who_sees_the_scene_answers_every_question(task, split):
    for scene, question in asked(task, split):
        assert answer(scene, question.text) == question.answer, (question, scene)


def test_training_never_asks_a_fact_of_the_test():
    rng = np.random.default_rng(3)
    for _ in range(150):
        scene = sample_scene(rng, "train")
        questions = [question.text.split("\n")[0] for task in TASKS for question in task.ask(scene, rng)]
        for item in scene.things:
            for relation in RELATIONS.values():
                known = fact(item.thing, relation.name)
                if known and known.split == "test":
                    place = f"the thing {'in' if item.place == 'center' else 'at'} the {item.place}"
                    states = {relation.about_the(place), *relation.which.values()}
                    states |= {where_is(which) for which in relation.which.values()}
                    assert not states & set(questions), (states & set(questions), scene)


def test_facts_told_by_name_are_of_training():
    rng = np.random.default_rng(4)
    kept = {known.question for known in facts(split="test")}
    for _ in range(300):
        question = fact_turns(rng)[0]["text"].split("\n")[0]
        assert question not in kept


def test_captions_name_every_item_and_drills_are_answerable():
    rng = np.random.default_rng(5)
    for _ in range(60):
        scene = sample_scene(rng, "train")
        told = caption(scene, rng)
        assert all(item.place in told and (item.blurred or item.name in told) for item in scene.items)
        question, said = drill_turns(scene, rng)
        assert answer(scene, question["text"]) == said["text"]


def test_calibration_samples_hold_a_caption_and_two_questions():
    rng = np.random.default_rng(6)
    turns = calibration_turns(sample_scene(rng, "train"), rng)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3


def test_where_something_is_is_asked_in_plain_english():
    assert where_is("Which of these can you not eat?") == "Where is the one you cannot eat?"
    assert where_is("Which of these do you find in the sea?") == "Where is the one you find in the sea?"
    assert where_is("Which of these lays eggs?") == "Where is the one that lays eggs?"
    assert where_is("The body of which of these is covered by fur?") == "Where is the one whose body is covered by fur?"
    questions = [where_is(which) for relation in RELATIONS.values() for which in relation.which.values()]
    assert not [asked for asked in questions if " of these" in asked or "one that can you" in asked]
