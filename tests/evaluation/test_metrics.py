"""Hand-computed cases for every score."""

import pandas as pd
import pytest
import torch

from atv.evaluation.metrics import (
    CircularChoice,
    ExactMatch,
    LetterChoice,
    OpenOrChoice,
    PairedYesNo,
    VQAAccuracy,
    YesNo,
)
from atv.evaluation.metrics.vqa import normalize, vqa_accuracy
from atv.evaluation.scores import retention, task_scores


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
    ],
)
def test_vqa_normaliser(text, normal):
    assert normalize(text) == normal


def test_vqa_metric():
    metric = VQAAccuracy()
    metric.update(
        ["red", "blue"], [question(group="1", answers=["red"] * 10), question(group="2", answers=["red"] * 10)]
    )
    assert metric.compute() == 0.5


def test_exact_match():
    metric = ExactMatch()
    metric.update([" Red!", "dark red"], [question("red", "1"), question("red", "2")])
    assert metric.compute() == 0.5


def test_pope_is_strict():
    metric = YesNo()
    metric.update(["Yes", "yes.", "no", ""], [question("yes", str(i)) for i in range(4)])
    assert metric.compute() == 0.25


def test_letters():
    metric = LetterChoice()
    metric.update(["A", "a", "A. star", "A star", "B"], [question("A", str(i)) for i in range(5)])
    assert metric.compute() == pytest.approx(3 / 5)


def test_circular_needs_every_rotation():
    metric = CircularChoice()
    star, ring = question("A", "1", options=["star", "ring"]), question("B", "1", options=["ring", "star"])
    metric.update(["A", "star"], [star, ring])
    metric.update(["A", "A"], [dict(star, group="2"), dict(ring, group="2")])
    metric.update(["?", "B"], [dict(star, group="3"), dict(ring, group="3")])
    assert metric.compute() == pytest.approx(1 / 3)


def test_mme_adds_pairs_by_category():
    metric = PairedYesNo()
    count = [question(a, g, "count") for g in "12" for a in ("yes", "no")]
    color = [question(a, "3", "color") for a in ("yes", "no")]
    metric.update(["Yes.", "No, none", "yes", "yes"], count)
    metric.update(["maybe", "no"], color)
    # count: acc 3/4, acc+ 1/2; color: acc 1/2, acc+ 0.
    assert metric.compute() == pytest.approx(((0.75 + 0.5) / 2 + (0.5 + 0) / 2) / 2)


def test_mmmu_takes_the_last_letter_or_matches_open_answers():
    metric = OpenOrChoice()
    options = ["3", "7"]
    asked = [question("B", str(i), options=options) for i in range(4)] + [question("12", "5")]
    metric.update(["(A) or (B)", "B", "seven? 7", "neither", "12."], asked)
    assert metric.compute() == pytest.approx(4 / 5)


def test_scores_from_rows_equal_the_metric_and_count_groups():
    rows = pd.DataFrame(
        {
            "task": "circular",
            "metric": "CircularChoice",
            "group": ["1", "1", "2", "2"],
            "category": "",
            "credit": [1.0, 1.0, 1.0, 0.0],
        }
    )
    score = task_scores(rows)["circular"]
    assert (score.score, score.groups, score.questions) == (0.5, 2, 4)


def answers(credits, task="t"):
    frame = {"task": task, "metric": "YesNo", "group": [str(i) for i in range(len(credits))], "category": ""}
    return pd.DataFrame(frame | {"credit": credits})


def test_retention_and_its_interval():
    generator = torch.Generator().manual_seed(0)
    dense = (torch.rand(400, generator=generator) < 0.9).double()
    pruned = dense * (torch.rand(400, generator=generator) < 0.8)
    kept = retention(task_scores(answers(dense.tolist())), task_scores(answers(pruned.tolist())))["t"]
    assert kept.value == pytest.approx(100 * float(pruned.mean() / dense.mean()))
    # Of the right ones, 80% stay: a binomial standard error of sqrt(.8 * .2 / 360) = 2.1 points.
    assert kept.low < kept.value < kept.high and (kept.high - kept.low) / 2 == pytest.approx(1.96 * 2.1, rel=0.2)


def test_the_same_answers_keep_everything_and_average_weighs_tasks_alike():
    both = pd.concat([answers([1, 1, 0, 1], "a"), answers([1, 0], "b")])
    worse = pd.concat([answers([1, 1, 0, 1], "a"), answers([0, 0], "b")])
    same = retention(task_scores(both), task_scores(both))["average"]
    assert (same.value, same.low, same.high) == (100, 100, 100) or same.value == 100
    assert retention(task_scores(both), task_scores(worse))["average"].value == pytest.approx(50)
