"""Hand-computed cases for every score."""

import pandas as pd
import pytest

from atv.evaluation.metrics import (
    CircularChoice,
    ExactMatch,
    LetterChoice,
    MMEPoints,
    OpenMatchOrChoice,
    OpenOrChoice,
    PairedYesNo,
    VQAAccuracy,
    YesNo,
)
from atv.evaluation.metrics.multiple_choice import circular_letter, last_letter, letter, lone_letter
from atv.evaluation.metrics.open import candidates, open_match
from atv.evaluation.metrics.vqa import normalize, vqa_accuracy
from atv.evaluation.metrics.yes_no import opening_yes_no
from atv.evaluation.scores import task_scores


def scored(metric, said, asked):
    """The score of answers, how many could not be read, and the further numbers."""
    rows = [
        dict(each, read=metric.read(text, each), credit=metric.credit(text, each))
        for text, each in zip(said, asked, strict=True)
    ]
    answers = pd.DataFrame(rows).assign(task="t", metric=type(metric).__name__)
    return task_scores(answers)["t"].score, int(answers["read"].isna().sum()), metric.parts(answers)


def question(answer="", group="g", category="", options=(), answers=()):
    return {"answer": answer, "group": group, "category": category, "options": list(options), "answers": list(answers)}


@pytest.mark.parametrize(("matches", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_accuracy_leaves_one_out(matches, score):
    assert vqa_accuracy("A red.", ["red"] * matches + ["blue"] * (10 - matches)) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The cat's  two toys", "cat 's 2 toys"),
        ("None", "0"),
        ("1,000", "1000"),
        ("half/past ten", "half past 10"),
        ("a - b", "b"),
        ("dont", "don't"),
        ("3.5 m.", "3.5 m"),
        ("yes!\n", "yes"),
        # Step 1: lower, "," and "?" go, 's is a word, ends are stripped.
        (" Is it RED? ", "is it red"),
        ("dog's", "dog 's"),
        # Step 2: lines and tabs are spaces.
        ("red\tand\nblue", "red and blue"),
        # Step 3: a mark beside a space goes, one inside a word is a space, everywhere the same.
        ("t-shirt", "t shirt"),
        ("t-shirt - blue", "tshirt blue"),
        ('"stop" (sign)', "stop sign"),
        ("a_b=c", "b c"),
        # Full stops go but before a digit, because of the mistyped look-behind also after one.
        ("no. 5", "no 5"),
        (".5", ".5"),
        ("5.", "5"),
        # Step 4: numbers, articles, contractions.
        ("zero none ten eleven", "0 0 10 eleven"),
        ("an apple on the table", "apple on table"),
        ("youre shouldntve couldnt've", "you're shouldntve couldn't've"),
        ("", ""),
    ],
)
def test_vqa_normaliser(text, normal):
    assert normalize(text) == normal


def test_vqa_metric():
    asked = [question(group="1", answers=["red"] * 10), question(group="2", answers=["red"] * 10)]
    assert scored(VQAAccuracy(), ["red", "blue"], asked)[0] == 0.5


def test_exact_match():
    assert scored(ExactMatch(), [" Red!", "dark red"], [question("red", "1"), question("red", "2")])[0] == 0.5


def test_pope_is_strict():
    assert scored(YesNo(), ["Yes", "yes.", "no", ""], [question("yes", str(i)) for i in range(4)])[0] == 0.25


def test_letters():
    asked = [question("A", str(i)) for i in range(5)]
    assert scored(LetterChoice(), ["A", "a", "A. star", "A star", "B"], asked)[0] == pytest.approx(3 / 5)


def test_circular_needs_every_rotation():
    star, ring = question("A", "1", options=["star", "ring"]), question("B", "1", options=["ring", "star"])
    asked = [dict(rotation, group=group) for group in "123" for rotation in (star, ring)]
    assert scored(CircularChoice(), ["A", "star", "A", "A", "?", "B"], asked)[0] == pytest.approx(1 / 3)


def test_mme_adds_pairs_by_category():
    count = [question(a, g, "count") for g in "12" for a in ("yes", "no")]
    color = [question(a, "3", "color") for a in ("yes", "no")]
    score, _, _ = scored(PairedYesNo(), ["Yes.", "No, none", "yes", "yes", "maybe", "no"], count + color)
    # count: acc 3/4, acc+ 1/2; color: acc 1/2, acc+ 0.
    assert score == pytest.approx(((0.75 + 0.5) / 2 + (0.5 + 0) / 2) / 2)


def test_mmmu_takes_the_last_letter_or_matches_open_answers():
    options = ["3", "7"]
    asked = [question("B", str(i), options=options) for i in range(4)] + [question("12", "5")]
    said = ["(A) or (B)", "B", "seven? 7", "neither", "12."]
    assert scored(OpenOrChoice(), said, asked)[0] == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("said", "read"),
    [("b", "B"), ("C. ring", "C"), ("c. ring", None), ("B ring", None), ("(B)", None), ("", None), ("BB", None)],
)
def test_letters_of_scienceqa(said, read):
    assert letter(said) == read


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("B", "B"),
        ("E", "E"),
        ("Answer: C.", "C"),
        ("(D).", "D"),
        ("A cat", "A"),
        ("A cat sits there", None),
        ("A or B", None),
        ("B and B.", "B"),
        ("b", None),
    ],
)
def test_lone_letters_of_mmbench(said, read):
    assert lone_letter(said) == read


@pytest.mark.parametrize(("said", "read"), [("A big ring it is", "B"), ("E, a ring", "E"), ("star and ring", None)])
def test_mmbench_falls_back_on_the_one_option_named(said, read):
    assert circular_letter(said, ["star", "ring"]) == read


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("(A), no, (B)", "B"),
        ("(B) or A ", "B"),
        ("B then A", "A"),
        ("A. or B.", "B"),
        ("A.x or B.x", "A"),
        ("not C. but D.x", "C"),
        ("B,", "B"),
        ("DNA of B", "B"),
        ("the ring and the star", "A"),
        ("none", None),
        ("", None),
    ],
)
def test_letters_of_mmmu(said, read):
    assert last_letter(said, ["star", "ring", "line", "dot"]) == read


def test_unread_answers_are_wrong_and_counted():
    asked = question("A", "1", options=["star", "ring"]), question("B", "2", options=["star", "ring"])
    for metric, said in ((CircularChoice(), "?"), (OpenMatchOrChoice(), "?"), (LetterChoice(), "it is A")):
        assert scored(metric, [said, "B"], asked)[:2] == (0.5, 1)
    pair = [question("yes", "1", "count"), question("no", "1", "count")]
    assert scored(PairedYesNo(), ["maybe", "no"], pair)[:2] == (0.25, 1)


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("12", "12.0", True),
        ("about 1,200 m", "1200", True),
        ("x + y = 0.333", "0.33", True),
        ("x = 3 is wrong, so 4", "3", False),
        ("The result is Mitral valve.", "mitral valve", True),
        ("valve", "mitral valve", False),
        ("D", "d", True),
        ("dog", "d", False),
        ("1e3", "1000", True),
    ],
)
def test_open_answers_of_mmmu(said, answer, right):
    assert open_match(said, answer) is right


def test_open_answers_are_what_follows_a_cue():
    assert candidates("It is 5\nSo the final answer is 7 rings.") == [5.0, "7 rings", 5.0, 7.0]


def test_precision_and_recall_of_pope():
    said = ["yes", "yes", "no", "Yes.", "yes", "no"]
    asked = [question(answer, str(i)) for i, answer in enumerate(["yes"] * 4 + ["no"] * 2)]
    score, unread, parts = scored(YesNo(), said, asked)
    # Two of three said yes are right; two of four yes are found.
    expected = {"precision": 2 / 3, "recall": 1 / 2, "f1": 2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2)}
    assert parts == pytest.approx(expected)
    assert (score, unread) == (0.5, 1)


@pytest.mark.parametrize(
    ("said", "read"), [("Yes", "yes"), ("n.", "no"), ("y", "yes"), ("I say yes", None), ("Nope", "no")]
)
def test_the_opening_of_answers_to_mme(said, read):
    assert opening_yes_no(said) == read


def test_points_of_mme():
    pair = ("yes", "no")
    # Two pictures of color: one pair right, one half right; one of code_reasoning, both wrong; OCR, both right.
    rows = [("color", "1"), ("color", "2"), ("code_reasoning", "3"), ("OCR", "4")]
    asked = [question(answer, group, category) for category, group in rows for answer in pair]
    said = ["yes", "no", "yes", "yes", "no", "yes", "Yes", "No"]
    score, _, found = scored(MMEPoints(), said, asked)
    # color: acc 75 + acc+ 50; code_reasoning 0; OCR 100 + 100.
    parts = {"color": 125, "OCR": 200, "code_reasoning": 0, "perception": 325, "cognition": 0}
    assert found == pytest.approx(parts)
    assert score == pytest.approx((125 + 200 + 0) / 3 / 200)


def test_mme_is_ten_categories_of_perception_and_four_of_cognition():
    names = ["existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR"]
    names += ["commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"]
    _, _, found = scored(MMEPoints(), ["yes"] * 14, [question("yes", name, name) for name in names])
    assert found == dict.fromkeys(names, 200) | {"perception": 2000, "cognition": 800}
