from collections import Counter

import numpy as np
import pytest

from atv.everyday.facts import RELATIONS, Relation, fact, facts
from atv.everyday.things import THINGS, by_name
from atv.everyday.training.probing import EXAMPLES, PROMPTS, balanced_accuracy, examples, probed

SPLITS = ("train", "test", "left out")


def test_every_fact_is_told_once_and_has_an_answer_of_its_relation():
    told = Counter((one.thing.name, one.relation.name) for one in facts())
    assert max(told.values()) == 1
    assert all(one.answer in one.relation.answers and one.thing in THINGS for one in facts())
    assert sum(len(facts(split=split)) for split in SPLITS) == len(facts()) > 2000


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_has_thirty_facts_and_every_answer_of_it_is_taught(relation):
    assert len(facts(relation)) >= 30
    assert {one.answer for one in facts(relation, "train")} == set(RELATIONS[relation].answers)
    held_back = len(facts(relation)) - len(facts(relation, "train"))
    assert 0.35 < held_back / len(facts(relation)) < 0.5


def test_every_test_fact_was_known_and_no_other_fact_of_a_test_is_taught():
    assert len(facts(split="test")) >= 200
    assert all(one.margin > 0 for one in facts(split="test"))
    assert all(one.margin is None for one in facts(split="train"))


def test_no_answer_is_more_than_four_fifths_of_what_is_taught():
    for relation in RELATIONS:
        counts = Counter(one.answer for one in facts(relation, "train"))
        assert max(counts.values()) <= 0.8 * sum(counts.values()), relation


def test_questions_follow_the_thing_in_article_and_number():
    ask = {name: relation.about for name, relation in RELATIONS.items()}
    assert ask["can_fly"](by_name("penguin")) == "Can a penguin fly?"
    assert ask["color"](by_name("grapes")) == "What color are grapes usually?"
    assert ask["sweet"](by_name("honey")) == "Does honey taste sweet?"
    assert ask["gives_light"](by_name("sun")) == "Does the sun give light?"
    assert ask["legs"](by_name("ant")) == "How many legs does an ant have?"
    asked = RELATIONS["wheels"].about_the("the thing at the top left")
    assert asked == "Does the thing at the top left have wheels?"


def test_every_answer_has_a_question_that_picks_its_thing():
    for relation in RELATIONS.values():
        assert len(set(relation.which_questions.values())) == len(relation.answers) > 1
        assert all(question.endswith("?") and "{" not in question for question in relation.which_questions.values())


def test_what_the_table_leaves_out_is_no_fact():
    assert fact(by_name("unicorn"), "can_fly") is None
    assert fact(by_name("penguin"), "can_fly").answer == "no"


@pytest.mark.parametrize("relation", RELATIONS)
def test_examples_are_of_training_and_every_answer_is_among_them(relation):
    for number in range(len(PROMPTS)):
        shown = examples(RELATIONS[relation], number)
        assert {one.split for one in shown} == {"train"}
        assert {one.answer for one in shown} == set(RELATIONS[relation].answers)
        assert len(shown) <= max(EXAMPLES, len(RELATIONS[relation].answers))
        assert len({one.thing.name for one in shown}) == len(shown)


def _asked(*answers):
    relation = Relation("a", "is {it} a?", {"yes": "Which?", "no": "Which not?"})
    return [
        type(facts()[0])(thing, relation, answer, None, "test") for thing, answer in zip(THINGS, answers, strict=False)
    ]


def test_a_known_fact_is_right_in_every_prompt():
    told = probed(_asked("yes", "yes", "no", "no"), np.array([[2.0, 1.0], [1.0, -0.1], [0.5, 0.4], [3.0, 3.0]]))
    assert [one.split for one in told] == ["test", "left out", "test", "test"]
    assert [one.margin for one in told] == [1.0, -0.1, 0.4, 3.0]


def test_nothing_is_known_of_a_relation_at_chance():
    told = probed(_asked("yes", "yes", "no", "no"), np.array([[2.0, 2.0], [-2.0, -2.0], [2.0, 2.0], [-2.0, -2.0]]))
    assert {one.split for one in told} == {"left out"}


def test_balanced_accuracy_weighs_answers_alike():
    asked = _asked("yes", "no", "no", "no")
    assert balanced_accuracy(asked, np.array([False, True, True, True])) == 0.5
