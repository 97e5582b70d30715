import numpy as np
import pandas as pd
import pytest

from atv.ablation import POINT, Finding
from atv.ablation.planning import DecisionPlan, can_be_planned, cheapest, costs, total_seconds
from atv.ablation.record import AblationRecord
from atv.statistics.estimates import Estimate, Spread, mean_estimate

CELLS = [
    {"id": f"{method}{seed}", "labels": {"method": method}, "seed": seed, "seconds": 50.0 + 20 * seed, "pruned": 10.0}
    for method in ("A", "B")
    for seed in range(3)
]
RECORD = AblationRecord({"cells": CELLS}, (), pd.DataFrame())


def finding(questions=1.0, drawn=0.0, both=0.0, seeds=3, runs=("method A", "method B")):
    ours = Estimate.of(0.3, Spread(100, seeds, questions, 800.0, drawn, both))
    return Finding("A keeps more.", "", Estimate(**vars(ours) | {"runs": runs}), "points", margin=POINT)


def test_a_cells_cost_is_its_pruning_and_its_groups():
    cost = costs(RECORD, groups=100)["method A"]
    assert (cost.pruned, cost.a_group) == pytest.approx((10.0, 0.6))  # mean of 50, 70 and 90 seconds
    assert cost.seconds(groups=200, seeds=3) == pytest.approx(3 * (10 + 120))


def test_the_plan_is_the_one_that_simulated_numbers_need():
    """Of numbers that lie as far off, the chance is as asked that their interval leaves the bound out."""
    plan = cheapest(finding(drawn=0.4, both=0.1), RECORD, effect=2.0, power=0.8)
    rng, repetitions = np.random.default_rng(0), 20_000
    of_groups, of_seeds, of_both = 0.9 * 100 / plan.groups, 0.3 * 3, 0.1 * 300 / plan.groups
    seeds = np.sqrt(of_seeds + of_both) * rng.standard_normal((repetitions, plan.seeds))
    value = 2.0 + np.sqrt(of_groups) * rng.standard_normal(repetitions) + seeds.mean(1)
    both = of_both / plan.seeds
    drawn = seeds.var(1, ddof=1) / plan.seeds
    half = Spread(plan.groups, plan.seeds, of_groups + both, 800.0, drawn, both).half()
    assert np.mean(value > half) == pytest.approx(0.8, abs=0.06)


def test_more_seeds_are_taken_where_seeds_vary_and_fewest_where_questions_do():
    assert cheapest(finding(drawn=0.5), RECORD, effect=3.0).seeds == 5
    by_questions = cheapest(finding(questions=4.0), RECORD, effect=1.0)
    assert by_questions.seeds == 3
    halved = cheapest(finding(questions=1.0), RECORD, effect=1.0)
    assert by_questions.groups == pytest.approx(4 * halved.groups, rel=0.02)


def test_a_plan_that_asks_for_more_than_there_is_is_none():
    assert cheapest(finding(), RECORD, effect=1.0, most_groups=100) is None
    assert cheapest(finding(drawn=5.0), RECORD, effect=0.5) is None and cheapest(finding(), RECORD, effect=1.0)


def test_no_plan_asks_fewer_questions_than_can_show_a_direction():
    ours = Estimate.of(100.0, Spread(3, 1, 0.0, 2.0))
    few = Finding("A keeps more.", "", Estimate(**vars(ours) | {"runs": ("method A",)}), "points", margin=POINT)
    assert few.verdict == "undecided" and cheapest(few, RECORD, effect=1.0).groups > 5


def test_a_number_of_one_seed_is_planned_with_one():
    assert cheapest(finding(seeds=1), RECORD, effect=1.0).seeds == 1


def test_cells_that_findings_share_are_run_once():
    findings = [finding(runs=("method A", "method B")), finding(runs=("method A",))]
    plans = [DecisionPlan(100, 3, 0.0), DecisionPlan(200, 5, 0.0)]
    assert total_seconds(findings, plans, RECORD) == pytest.approx(5 * (10 + 120) + 3 * (10 + 60))


def test_what_rests_on_no_question_is_not_planned():
    counted = Finding("So it is.", "", mean_estimate([1.0, 2.0]), "Linears")
    assert not can_be_planned(counted) and can_be_planned(finding())
    with pytest.raises(ValueError, match=r"So it is\.: no question was asked"):
        cheapest(counted, RECORD, effect=1.0)
    with pytest.raises(ValueError, match=r"got 0 and 0\.8"):
        cheapest(finding(), RECORD, effect=0)
