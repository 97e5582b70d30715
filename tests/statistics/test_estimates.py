"""Intervals against scipy's, against the formulas written out, and against other draws."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap, t, ttest_1samp

from atv.statistics.estimates import Estimate, Spread, TaskPart, mean_estimate, mean_over

RNG = np.random.default_rng(3)


def plain(values):
    """A task whose number is the mean of values (seeds, groups)."""
    values = np.asarray(values, dtype=float)
    pulls = (values - values.mean(-1, keepdims=True)) / values.shape[-1]
    return TaskPart(values.mean(-1), pulls, np.zeros(values.shape[-1], int))


def test_a_mean_of_values_has_the_interval_and_p_of_a_t_test():
    values = RNG.normal(1, 2, 7)
    ours, theirs = mean_estimate(values), ttest_1samp(values, 0)
    interval = theirs.confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.spread.p(abs(ours.value)) == pytest.approx(theirs.pvalue)
    assert (ours.at(0.99).low, ours.at(0.99).high) == pytest.approx(tuple(theirs.confidence_interval(0.99)))


def test_one_value_tells_of_no_spread_and_equal_ones_of_none_at_all():
    alone = mean_estimate([3.0])
    assert alone.value == 3 and (alone.low, alone.high) == (-np.inf, np.inf)
    same = mean_estimate([3.0, 3.0])
    assert (same.low, same.high) == (3, 3) and same.spread.p(1e-9) == 0 and same.spread.p(0) == 1


def test_one_seed_gives_the_interval_over_its_groups():
    values = RNG.normal(size=(1, 30))
    value, spread = mean_over([plain(values)])
    interval = ttest_1samp(values[0], 0).confidence_interval()
    assert (value - spread.half(), value + spread.half()) == pytest.approx((interval.low, interval.high))


def test_several_seeds_split_the_variance_as_an_analysis_of_variance_does():
    seeds, groups = 4, 12
    values = RNG.normal(size=(seeds, groups)) + RNG.normal(size=(seeds, 1)) + 2 * RNG.normal(size=(1, groups))
    value, spread = mean_over([plain(values)])
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    square = {
        "groups": seeds * ((values.mean(0) - values.mean()) ** 2).sum() / (groups - 1),
        "seeds": groups * ((values.mean(1) - values.mean()) ** 2).sum() / (seeds - 1),
        "both": (left**2).sum() / (groups - 1) / (seeds - 1),
    }
    told = np.array([spread.question_variance, spread.seed_variance, spread.shared_variance]) * seeds * groups
    assert told == pytest.approx([square["groups"], square["seeds"], square["both"]])
    reach = t.isf(0.025, groups - 1) ** 2 * max(spread.question_variance - spread.shared_variance, 0)
    reach += t.isf(0.025, seeds - 1) ** 2 * spread.seed_variance
    assert value == pytest.approx(values.mean()) and spread.half() == pytest.approx(np.sqrt(reach))


def test_a_mean_over_tasks_and_categories_agrees_with_a_bootstrap():
    first, second = RNG.normal(size=(1, 400)), RNG.normal(size=(1, 300)) * 3
    strata = np.repeat([1, 2, 3], 100)
    second += 5 * strata  # categories have a fixed share, so their distance adds nothing
    weights = np.full(300, 1 / 300)
    part = TaskPart(second.mean(-1), weights * (second - second.mean()), strata)
    value, spread = mean_over([plain(first), part])
    drawn = bootstrap(
        (first[0], *(second[0][strata == each] for each in (1, 2, 3))),
        lambda one, *others, axis: (one.mean(axis) + np.mean([each.mean(axis) for each in others], axis=0)) / 2,
        rng=0,
    )
    assert spread.half() / 1.96 == pytest.approx(drawn.standard_error, rel=0.06)
    assert spread.freedom < 397 + 299 and value == pytest.approx((first.mean() + second.mean()) / 2)


def test_a_category_of_one_group_counts_by_its_distance_from_all_and_a_task_of_one_group_has_no_bounds():
    values = np.array([[0.0, 1.0, 1.0, 0.0]])
    part = TaskPart(values.mean(-1), (values - 0.5) / 4, np.array([1, 1, 1, 2]))
    within = np.sum((np.array([0, 1, 1]) - 2 / 3) ** 2) * 3 / 2 + 0.25
    assert mean_over([part])[1].question_variance == pytest.approx(within / 16) and part.freedom == 3
    assert mean_over([plain(values), plain([[1.0]])])[1].half() == np.inf


def test_numbers_side_by_side_are_each_by_itself():
    values = RNG.normal(size=(5, 3, 20))
    together, spread = mean_over([plain(values)])
    for index, own in enumerate(values):
        value, alone = mean_over([plain(own)])
        assert together[index] == pytest.approx(value) and spread.half()[index] == pytest.approx(alone.half())


def test_groups_that_belong_together_count_as_one():
    values = RNG.normal(size=(1, 24))
    part = plain(values)
    of = np.repeat(np.arange(8), 3)
    spread = mean_over([replace(part, clusters=of)])[1]
    sums = (values[0] - values.mean()).reshape(8, 3).sum(1)  # Cameron and Miller (2015), equation 11, of a mean
    assert spread.question_variance == pytest.approx(8 / 7 * (sums**2).sum() / 24**2) and spread.freedom == 7
    each = replace(part, clusters=RNG.permutation(24))
    assert [getattr(mean_over([each])[1], name) for name in ("question_variance", "freedom")] == pytest.approx(
        [getattr(mean_over([part])[1], name) for name in ("question_variance", "freedom")]
    )


def test_questions_of_several_tasks_about_one_picture_count_as_one():
    values = RNG.normal(size=(3, 20))
    same = replace(plain(values), clusters=np.arange(20))
    (value, alone), (again, twice) = mean_over([same]), mean_over([same, same])
    assert again == pytest.approx(value)
    assert [twice.question_variance, twice.seed_variance, twice.shared_variance] == pytest.approx(
        [alone.question_variance, alone.seed_variance, alone.shared_variance]
    )
    assert twice.freedom == 19 < mean_over([plain(values), plain(values)])[1].freedom
    assert twice.question_variance == pytest.approx(2 * mean_over([plain(values), plain(values)])[1].question_variance)


@pytest.mark.parametrize("tasks", [1, 3])
def test_intervals_hold_the_truth_where_pictures_move_all_answers_about_them(tasks):
    pictures, seeds, worlds = 40, 3, 2000
    rng = np.random.default_rng(5)
    picture = rng.normal(size=(worlds, 1, pictures))
    parts = [
        plain(picture + rng.normal(size=(worlds, 1, pictures)) + rng.normal(size=(worlds, seeds, pictures)))
        for _ in range(tasks)
    ]
    value, spread = mean_over([replace(part, clusters=np.arange(pictures)) for part in parts])
    assert 0.94 <= np.mean(abs(value) <= spread.half()) <= 0.985
    value, spread = mean_over(parts)
    assert (np.mean(abs(value) <= spread.half()) < 0.92) == (tasks > 1)


def test_p_is_that_of_the_interval_that_reaches_so_far():
    spread = Spread(80, 3, 1.0, 300.0, 0.5, 0.2)
    assert spread.p(float(spread.half(0.9))) == pytest.approx(0.1)
    assert spread.p(float(spread.half(1 - 1e-6))) == pytest.approx(1e-6)
    assert spread.p(1e12) == 0 and spread.p(-1) == 1 and Spread(1, 1, np.inf, 1.0).p(3.0) == 1


def test_more_groups_and_seeds_are_planned_by_what_each_of_them_mends():
    spread = Spread(80, 3, 1.0, 300.0, 0.5, 0.2)
    same, groups, seeds = spread.planned(80, 3), spread.planned(8_000_000, 3), spread.planned(80, 3_000_000)
    assert same == spread
    assert groups.question_variance == pytest.approx(0, abs=1e-4) and groups.seed_variance == pytest.approx(
        0.3, abs=1e-4
    )
    assert seeds.seed_variance == pytest.approx(0, abs=1e-4) and seeds.question_variance == pytest.approx(0.8, abs=1e-4)
    assert groups.freedom == pytest.approx(300 * 100_000)


def test_bounds_without_a_spread_have_no_other_confidence():
    with pytest.raises(ValueError, match="cannot be computed at a different confidence"):
        Estimate(1.0, 0.0, 2.0).at(0.9)
