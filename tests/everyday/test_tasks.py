"""Tasks about everyday scenes: answerable by who sees the scene, and never asking in a test what training told."""

import numpy as np
import pytest
from everyday.solver import answer

from atv.bundled.scenes import DIGITS
from atv.everyday.dialogues import calibration_turns, caption, drill_turns, fact_turns
from atv.everyday.drawing import covered, draw, handwritten
from atv.everyday.facts import RELATIONS, fact, facts
from atv.everyday.scenes import WORDS, hashed_split, sample_scene
from atv.everyday.tasks import TASKS
from atv.everyday.tasks.choices import where_is
from atv.everyday.things import THINGS, Drawing, drawings


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
                    states = {relation.about_the(place), *relation.which_questions.values()}
                    states |= {where_is(which) for which in relation.which_questions.values()}
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
    questions = [where_is(which) for relation in RELATIONS.values() for which in relation.which_questions.values()]
    assert not [asked for asked in questions if " of these" in asked or "one that can you" in asked]


@pytest.mark.parametrize("split", ["train", "dev", "test", "unseen"])
def test_a_scene_belongs_to_its_split_and_shows_its_drawings(split):
    rng = np.random.default_rng(0)
    allowed = set(drawings("unseen" if split == "unseen" else "known"))
    for _ in range(30):
        scene = sample_scene(rng, split)
        assert hashed_split(scene.items) == ("test" if split == "unseen" else split)
        shown = {Drawing(item.thing, item.style) for item in scene.items if item.form == "thing"}
        assert shown <= allowed
        assert len({item.place for item in scene.items}) == len(scene.items)


def test_words_are_no_names_of_things_and_fit_their_signs():
    assert not set(WORDS) & {thing.name for thing in THINGS}
    assert len(set(WORDS)) == len(WORDS) > 70


def test_handwriting_is_split_by_image():
    images = {
        split: {i.tobytes() for digit in DIGITS for i in handwritten(split, digit)} for split in ("train", "test")
    }
    assert len(images["train"]) > 1000 and not images["train"] & images["test"]


def test_a_picture_is_drawn_alike_again_and_covered_where_things_stand():
    scene = sample_scene(np.random.default_rng(1), "train", 4, 6)
    pictures = [np.asarray(draw(scene, np.random.default_rng(7))) for _ in range(2)]
    assert pictures[0].shape == (168, 168, 3) and (pictures[0] == pictures[1]).all()
    owner = covered(scene, np.random.default_rng(7))
    for number, item in enumerate(scene.items):
        rows, columns = np.nonzero(owner == number)
        assert set(rows // 56) == {item.row} and set(columns // 56) == {item.column}


def test_items_differ_from_the_background_where_they_are():
    scene = sample_scene(np.random.default_rng(2), "train", 6, 6)
    empty = np.asarray(draw(type(scene)((), "train"), np.random.default_rng(7)), dtype=float)
    shown = np.asarray(draw(scene, np.random.default_rng(7)), dtype=float)
    differs = np.abs(shown - empty).max(-1) > 25
    owner = covered(scene, np.random.default_rng(7))
    for number in range(len(scene.items)):
        assert differs[owner == number].mean() > 0.5
