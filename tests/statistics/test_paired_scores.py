"""Paired statistics against brute force: every swap, every resample, loops in place of matrices."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from atv.statistics.paired_scores import Design, bootstrap_interval, corrected, paired, permutation_p

RNG = np.random.default_rng(3)


def scores(seeds=2, units=12):
    return RNG.integers(0, 11, size=(seeds, units)) / 10


CLUSTERS = np.array(list("aaabbccddeef"))
PARTS = np.array([0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1])


def looped(values, clusters, parts, weights, drawn):
    """The number plus what units drawn more or less than once add, each about its part's mean, one by one."""
    rows = pd.DataFrame({"cluster": clusters, "part": parts, "value": values})
    parted = rows.groupby("part")["value"]
    number = sum(weight * mean for weight, mean in zip(weights, parted.mean(), strict=True)) / sum(weights)
    for row in rows.itertuples():
        inside = parted.get_group(row.part)
        about = inside.mean() if len(inside) > 1 else rows["value"].mean()
        share = weights[row.part] / sum(weights) / len(inside)
        number += (drawn[row.cluster] - 1) * share * (row.value - about)
    return float(number)


def test_a_number_is_the_weighted_mean_of_its_parts():
    design, values = Design.of(CLUSTERS, PARTS, [3, 1]), scores()
    expected = [0.75 * own[PARTS == 0].mean() + 0.25 * own[PARTS == 1].mean() for own in values]
    assert design.number(values) == pytest.approx(np.mean(expected))


def test_clusters_add_up_to_the_difference():
    design, gap = Design.of(CLUSTERS, PARTS), scores()[0] - scores()[1]
    assert design.shifts(gap).shape == (6,)
    assert design.shifts(gap).sum() == pytest.approx(design.number(gap[None]))


def test_a_p_value_counts_every_swap_of_clusters():
    design, first, second = Design.of(CLUSTERS, PARTS), scores(1), scores(1)
    effect = paired(first, second, design)
    reached = []
    for signs in product((False, True), repeat=6):
        swap = np.array(signs)[design.clusters]
        one, other = np.where(swap, second, first), np.where(swap, first, second)
        reached.append(abs(design.number(other) - design.number(one)) >= abs(effect.value) - 1e-12)
    assert effect.test == "exact" and effect.p == pytest.approx(np.mean(reached))


def test_single_right_or_wrong_questions_are_tested_as_mcnemar_does():
    first, second = RNG.integers(0, 2, size=(2, 400)).astype(float)
    second[:300] = first[:300]
    table = [[np.sum((first == a) & (second == b)) for b in (1, 0)] for a in (1, 0)]
    effect = paired(first, second, Design.of(np.arange(400)))
    assert effect.test == "exact" and effect.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert effect.value == pytest.approx(second.mean() - first.mean())


def test_many_clusters_of_several_sizes_are_swapped_at_random():
    shifts = RNG.normal(0.15, 1, size=200)
    p, test = permutation_p(shifts)
    # At this size the swaps' distribution is the t-test's.
    assert test == "permutation" and p == pytest.approx(ttest_1samp(shifts, 0).pvalue, abs=0.02)
    assert permutation_p(np.zeros(5)) == (1.0, "exact")


def expanded(clusters):
    """By how much an interval of so many is wider (Hesterberg, 2015)."""
    return np.sqrt(clusters / (clusters - 1)) * t.isf(0.025, clusters - 1) / 1.959964


def test_the_interval_is_that_of_all_resamples():
    clusters, parts = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 1, 0, 0, 1])
    design, first, second = Design.of(clusters, parts), scores(1, 6), scores(1, 6)
    every = []
    for chosen in product(range(4), repeat=4):
        named = dict(enumerate(np.bincount(chosen, minlength=4)))
        every.append(looped(second[0] - first[0], clusters, parts, [1, 1], named))
    effect = paired(first, second, design)
    every = effect.value + expanded(4) * (np.array(every) - effect.value)
    for bound, share in ((effect.low, 0.025), (effect.high, 0.975)):
        # Many of the 256 resamples are alike.
        below, reached = (np.mean(every < bound + small) for small in (-1e-6, 1e-6))
        assert below - 0.015 < share < reached + 0.015


@pytest.mark.parametrize("clusters", [4, 8])
def test_intervals_of_few_clusters_miss_as_seldom_as_they_say(clusters):
    design, rng = Design.of(np.arange(clusters)), np.random.default_rng(clusters)
    bounds = [bootstrap_interval(rng.standard_normal(clusters), design) for _ in range(500)]
    missed = np.mean([not low <= 0 <= high for low, high in bounds])
    # Of 500 at 5%: three standard errors.
    assert abs(missed - 0.05) < 0.03


def test_a_part_that_is_seldom_drawn_pulls_no_interval_to_one_side():
    """A mean over categories, one of them of a single question that alone got worse."""
    parts, gap = np.array([0] * 20 + [1]), np.zeros((1, 21))
    gap[0, 20] = -1
    effect = paired(np.zeros((1, 21)), gap, Design.of(np.arange(21), parts))
    # Resampled as it stands, without the category where it is not drawn, the number would be -0.5 or 0.
    assert effect.value == -0.5 and effect.low < -0.9
    assert effect.high == pytest.approx(-0.5 + 0.475 * expanded(21), abs=0.03)


def test_whole_clusters_are_drawn_and_repeats_of_a_question_buy_nothing():
    first, second = scores(1, 40), scores(1, 40)
    once = paired(first, second, Design.of(np.arange(40)))
    repeated = np.repeat(np.arange(40), 5)
    five = paired(np.repeat(first, 5, axis=1), np.repeat(second, 5, axis=1), Design.of(repeated))
    assert (five.value, five.low, five.high, five.p) == pytest.approx((once.value, once.low, once.high, once.p))
    alone = paired(np.repeat(first, 5, axis=1), np.repeat(second, 5, axis=1), Design.of(np.arange(200)))
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_seeds_reach_as_far_as_t_over_them_says():
    design, level = Design.of(np.arange(5)), np.array([0.1, 0.4, 0.9])
    first, second = np.zeros((1, 5)), np.tile(level[:, None], 5)

    def reaches(*models, **same):
        effect = paired(*models, design, **same)
        return pytest.approx(effect.value - effect.low), effect.high - effect.value

    # Questions are all alike: seeds alone make the interval.
    alone = t.isf(0.025, 2) * level.std(ddof=1) / np.sqrt(3)
    assert reaches(first, second) == (alone, pytest.approx(alone))
    assert reaches(second - 0.2, second) == (alone * np.sqrt(2), pytest.approx(alone * np.sqrt(2)))
    assert reaches(second - 0.2, second, same_seeds=True) == (pytest.approx(0), pytest.approx(0))


def test_seeds_and_clusters_add_up_as_squares():
    design, first, second = Design.of(CLUSTERS, PARTS), scores(1), scores(3)
    seeds = [design.number(own[None]) for own in second]
    alone, effect = paired(first, second.mean(0), design), paired(first, second, design)
    squared = (t.isf(0.025, 2) * np.std(seeds, ddof=1)) ** 2 / 3
    assert (effect.value - effect.low) ** 2 == pytest.approx((alone.value - alone.low) ** 2 + squared)
    assert (effect.high - effect.value) ** 2 == pytest.approx((alone.high - alone.value) ** 2 + squared)


def test_one_cluster_tells_of_no_spread():
    effect = paired(scores(1), scores(1), Design.of(np.zeros(12)))
    assert (effect.low, effect.high, effect.p) == (-np.inf, np.inf, 1)


def test_two_calls_give_the_same_and_what_does_not_fit_is_refused():
    design, first, second = Design.of(CLUSTERS, PARTS), scores(3), scores(2)
    assert paired(first, second, design) == paired(first, second, design)
    with pytest.raises(ValueError, match=r"expected scores of shape \(seeds, 12\), got \(3,\)"):
        paired([1, 2, 3], second, design)
    with pytest.raises(ValueError, match="that are finite numbers"):
        paired(first, second * np.nan, design)
    with pytest.raises(ValueError, match="expected 2 weights, one per part, got 3"):
        Design.of(CLUSTERS, PARTS, [1, 1, 1])
    with pytest.raises(ValueError, match="got 0 and 0"):
        Design.of([])


P = [0.01, 0.04, 0.03, 0.005]
ORDER = np.argsort(P)


def test_any_false_one_is_held_by_holms_formula():
    expected, running = np.empty(4), 0.0
    for rank, place in enumerate(ORDER):
        running = max(running, min(1.0, (4 - rank) * P[place]))
        expected[place] = running
    assert corrected(P, "any false one") == pytest.approx(expected.tolist())


def test_a_share_of_false_ones_is_held_by_benjamini_and_hochbergs_formula():
    expected, running = np.empty(4), 1.0
    for rank in (3, 2, 1, 0):
        running = min(running, 4 / (rank + 1) * P[ORDER[rank]])
        expected[ORDER[rank]] = running
    assert corrected(P, "a share of false ones") == pytest.approx(expected.tolist())
    assert corrected([], "a share of false ones") == []
