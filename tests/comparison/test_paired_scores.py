"""Paired statistics against brute force: every swap, every resample, loops in place of matrices."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from atv.comparison.paired_scores import Design, differences_drawn, holm, paired, swapped

RNG = np.random.default_rng(3)


def scores(seeds=2, units=12):
    return RNG.integers(0, 11, size=(seeds, units)) / 10


CLUSTERS = np.array(list("aaabbccddeef"))
PARTS = np.array([0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1])


def looped(values, clusters, parts, weights, drawn):
    """The number of units repeated as often as their cluster was drawn, by groupby."""
    rows = pd.DataFrame({"cluster": clusters, "part": parts, "value": values})
    rows = rows.loc[rows.index.repeat(rows["cluster"].map(drawn))]
    means = rows.groupby("part")["value"].mean()
    shares = pd.Series(dict(enumerate(weights)))[means.index]
    return float((means * shares).sum() / shares.sum())


def test_numbers_are_those_of_units_that_are_really_repeated():
    design, values = Design.of(CLUSTERS, PARTS, [3, 1]), scores()
    drawn = RNG.integers(0, 3, size=(30, 6))
    drawn[0] = [0, 0, 0, 0, 0, 2]  # A cluster of one part alone: the other part is left out.
    found = design.numbers(values, drawn)
    assert found.shape == (30, 2)
    for row, counts in enumerate(drawn):
        if counts.sum():
            named = dict(zip("abcdef", counts, strict=True))
            expected = [looped(own, CLUSTERS, PARTS, [3, 1], named) for own in values]
            assert found[row] == pytest.approx(expected)
    assert design.number(values) == pytest.approx(
        np.mean([0.75 * own[PARTS == 0].mean() + 0.25 * own[PARTS == 1].mean() for own in values])
    )


def test_clusters_add_up_to_the_difference():
    design, gap = Design.of(CLUSTERS, PARTS), scores() - scores()
    assert design.shifts(gap).shape == (6,)
    assert design.shifts(gap).sum() == pytest.approx(design.number(gap))


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
    p, test = swapped(shifts)
    # At this size the swaps' distribution is the t-test's.
    assert test == "permutation" and p == pytest.approx(ttest_1samp(shifts, 0).pvalue, abs=0.02)
    assert swapped(np.zeros(5)) == (1.0, "exact")


def test_the_interval_is_that_of_all_resamples():
    clusters, parts = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 1, 0, 0, 1])
    design, first, second = Design.of(clusters, parts), scores(1, 6), scores(1, 6)
    every = []
    for chosen in product(range(4), repeat=4):
        named = dict(enumerate(np.bincount(chosen, minlength=4)))
        every.append(looped(second[0] - first[0], clusters, parts, [1, 1], named))
    drawn = differences_drawn(first, second, design)
    assert drawn.mean() == pytest.approx(np.mean(every), abs=4 * np.std(every) / np.sqrt(2000))
    assert drawn.std() == pytest.approx(np.std(every), rel=0.06)
    effect = paired(first, second, design)
    reached = [np.mean(np.array(every) <= bound) for bound in (effect.low, effect.high)]
    assert reached[0] == pytest.approx(0.025, abs=0.015) and reached[1] == pytest.approx(0.975, abs=0.015)


def test_whole_clusters_are_drawn_and_repeats_of_a_question_buy_nothing():
    first, second = scores(1, 40), scores(1, 40)
    once = paired(first, second, Design.of(np.arange(40)))
    repeated = np.repeat(np.arange(40), 5)
    five = paired(np.repeat(first, 5, axis=1), np.repeat(second, 5, axis=1), Design.of(repeated))
    assert (five.value, five.low, five.high, five.p) == pytest.approx((once.value, once.low, once.high, once.p))
    alone = paired(np.repeat(first, 5, axis=1), np.repeat(second, 5, axis=1), Design.of(np.arange(200)))
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_seeds_are_drawn_with_the_variance_of_their_mean():
    design, level = Design.of(np.arange(5)), np.array([0.1, 0.4, 0.9])
    first, second = np.zeros((1, 5)), np.tile(level[:, None], 5)
    # Questions are all alike: seeds alone make the interval.
    drawn = differences_drawn(first, second, design)
    assert drawn.var() == pytest.approx(level.var(ddof=1) / 3, rel=0.1)
    together = differences_drawn(second - 0.2, second, design, same_seeds=True)
    assert np.ptp(together) < 1e-12 and together[0] == pytest.approx(0.2)
    apart = differences_drawn(second - 0.2, second, design)
    assert apart.var() == pytest.approx(2 * level.var(ddof=1) / 3, rel=0.1)


def test_holm_is_the_formula():
    p = [0.01, 0.04, 0.03, 0.005]
    order, expected, running = np.argsort(p), np.empty(4), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (4 - rank) * p[place]))
        expected[place] = running
    assert holm(p) == pytest.approx(expected.tolist()) and holm([]) == []


def test_two_calls_give_the_same_and_what_does_not_fit_is_refused():
    design, first, second = Design.of(CLUSTERS, PARTS), scores(3), scores(2)
    assert paired(first, second, design) == paired(first, second, design)
    with pytest.raises(ValueError, match=r"expected scores \(seeds, 12\), got \(3,\)"):
        paired([1, 2, 3], second, design)
    with pytest.raises(ValueError, match="that are numbers"):
        paired(first, second * np.nan, design)
    with pytest.raises(ValueError, match="expected 2 weights, one a part, got 3"):
        Design.of(CLUSTERS, PARTS, [1, 1, 1])
    with pytest.raises(ValueError, match="got 0 and 0"):
        Design.of([])
