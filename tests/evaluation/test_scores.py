"""Hand-computed scores, retention and intervals of small tables of answers."""

import pandas as pd
import pytest
import torch

from atv.evaluation.scores import category_scores, difference, on_shared_groups, retention, task_scores


def answers(credits, task="t"):
    frame = {"task": task, "metric": "YesNo", "group": [str(i) for i in range(len(credits))], "category": ""}
    return pd.DataFrame(frame | {"credit": credits})


def test_scores_by_category():
    rows = answers([1, 0, 1, 1])
    rows["category"] = ["a", "a", "b", "b"]
    found = category_scores(rows)
    assert {name: (score.score, score.right, score.groups) for name, score in found.items()} == {
        "a": (0.5, 1, 2),
        "b": (1, 2, 2),
    }


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
    assert (same.value, same.low, same.high) == pytest.approx((100, 100, 100))
    assert retention(task_scores(both), task_scores(worse))["average"].value == pytest.approx(50)


def by_category(credits, categories):
    """Answers to a task whose score is a mean over categories."""
    return answers(credits).assign(metric="PairedYesNo", category=list(categories))


def test_retention_weighs_categories_alike_however_many_groups_each_has():
    dense, pruned = by_category([1, 1, 1, 1], "aaab"), by_category([1, 1, 1, 0], "aaab")
    # All of a is kept and nothing of b; group by group it would be 75.
    assert retention(task_scores(dense), task_scores(pruned))["t"].value == pytest.approx(50)


def test_a_score_on_shared_groups_weighs_categories_alike():
    more, fewer = by_category([1, 0, 1, 0], "aabb"), by_category([1, 0, 1], "aab")
    scores = on_shared_groups(task_scores(more), task_scores(fewer))
    # a: 1/2, b: 1; group by group it would be 2/3.
    assert [each["t"].score for each in scores] == pytest.approx([0.75, 0.75])


def test_models_that_answered_other_questions_are_not_compared():
    few, many = task_scores(answers([1, 1])), task_scores(answers([1, 1, 0]))
    with pytest.raises(ValueError, match=r"^retention: the two models answered different questions of t$"):
        retention(few, many)
    with pytest.raises(ValueError, match=r"^retention: the two models answered different questions of t$"):
        difference(few, few, many)
