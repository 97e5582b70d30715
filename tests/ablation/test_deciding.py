"""Looks at growing results: what is asked, what is kept, and how often verdicts are wrong."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from helpers.drawn_answers import World, differences
from matplotlib.figure import Figure

from atv.ablation import POINT, Ablation, Cell, Finding, Results, deciding
from atv.ablation.deciding import Decider, Look, looks
from atv.ablation.runner import CellOutcomes
from atv.ablation.shard import Shard
from atv.ablation.store import FinishedCell
from atv.api import Pathway
from atv.records.cell_record import CellRecord
from atv.statistics.estimates import Estimate, Spread

LOOKS = looks(100)
RIGHT = {"dense": 1.0, "far": 0.1, "near": 0.9, "same": 0.9, "timed": 0.5, "unclaimed": 0.5}


def pruned(method, seed):
    return Cell({"m": method}, {"both": Pathway("TextOnly")}, seed=seed)


class Claims(Ablation):
    """Of three methods, one far below the others."""

    name = question = "claims"

    def cells(self, seed):
        grid = [Cell({"m": "dense"})]
        return grid + [pruned(method, seed) for method in ("far", "near", "same")]

    def figure(self, table, results):
        return Figure()

    def findings(self, results):
        return [
            Finding(f"near over {other}", "", results.difference({"m": "near"}, {"m": other}), "points", margin=POINT)
            for other in ("far", "same")
        ]


def test_looks_share_five_percent_and_a_fifth_half_and_all_of_the_groups():
    assert [Look(20, 3, 0.005), Look(50, 4, 0.015), Look(100, 5, 0.03)] == LOOKS
    assert sum(look.share for look in LOOKS) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="at least 50 groups of questions of each task, got 49"):
        looks(49)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Stands for running cells: answers are drawn; returns what was asked, a line a cell."""
    lines = []

    def run(ablation, store, seeds, whole_seeds, trainer, shard, wanted):
        start, end, _ = store
        finished, before = [], len(lines)
        for made in (ablation.cells, lambda seed: ablation.later(seed, Results(finished))):
            cells = {cell.title + str(cell.seed): cell for seed in seeds for cell in made(seed)}
            for cell in filter(lambda cell: cell.dense or wanted(cell), cells.values()):
                folder = tmp_path / f"{cell.labels['m']}-{cell.seed}-{start}"
                if not folder.exists():
                    lines.append((cell.labels["m"], cell.seed, end))
                    folder.mkdir()
                    _answers(cell, start, end).to_parquet(folder / "rows.parquet")
                    CellRecord(folder.name, seconds={"prune": 10.0, "evaluate": end - start}).write(folder)
                finished.append(FinishedCell(cell, folder))
        return CellOutcomes(finished, made=len(lines) - before)

    monkeypatch.setattr(deciding, "run_ablation", run)
    return lines


def _answers(cell, start, end):
    method = cell.labels["m"]
    rng = np.random.default_rng((cell.seed, start, list(RIGHT).index(method)))
    names = [f"g{index}" for index in range(start, end)]
    right = (rng.random(end - start) < RIGHT[method]).astype(float)
    shared = {"task": "reading", "metric": "ExactMatch", "category": "all"}
    return pd.DataFrame({"question_id": names, "group": names, "credit": right}).assign(**shared)


class Part(NamedTuple):
    """Stands for the cells of some groups of questions."""

    start: int
    end: int
    there: tuple[tuple[str, int], ...] = ()

    def load(self, cell, ablation):
        return True if (cell.labels["m"], cell.seed) in self.there else None


def parts(number):
    return Part((0, 20, 50)[number], LOOKS[number].groups)


def test_only_cells_of_undecided_findings_are_asked_more(asked):
    decided = Decider(LOOKS, parts, 0, None).decide(Claims())
    far, same = decided.findings.values()
    assert far.verdict == "holds" and far.ours.confidence == 0.995
    assert (far.ours.spread.groups, far.ours.spread.seeds) == (20, 3)
    assert same.verdict == "undecided" and same.ours.confidence == 0.97
    assert (same.ours.spread.groups, same.ours.spread.seeds) == (100, 5)
    assert {end for method, _, end in asked if method == "far"} == {20}
    assert sorted({(seed, end) for method, seed, end in asked if method == "near"}) == [
        (seed, end) for seed in range(5) for end in (20, 50, 100)
    ]
    assert [end for method, _, end in asked if method == "dense"] == [20, 50, 100]
    assert decided.undecided == [same] and not decided.stopped
    assert len(decided.results.of(m="near")[0].rows) == 100 and len(decided.results.of(m="far")[0].rows) == 20


def test_what_later_cells_follow_from_is_asked_at_every_look(asked):
    class Following(Claims):
        """Those of "same" need the numbers that those of "far" have, seed by seed."""

        name = "following"

        def cells(self, seed):
            grid = [Cell({"m": "dense"}), Cell({"m": "timed"}, measure="seconds")]
            return grid + [pruned(method, seed) for method in ("far", "near", "unclaimed")]

        def later(self, seed, results):
            return [pruned("same", done.cell.seed) for done in results.of(m="far") if done.cell.seed == seed]

        def claimed(self, cell):
            return cell.labels["m"] != "unclaimed"

    decided = Decider(LOOKS, parts, 0, None).decide(Following())
    far, same = decided.findings.values()
    assert (far.verdict, far.ours.spread.groups) == ("holds", 20) and same.ours.spread.seeds == 5
    every = [(seed, end) for end in (20, 50, 100) for seed in range(5)]
    expected = dict.fromkeys(("far", "near", "same"), sorted(every))
    expected |= {"dense": [(0, 20), (0, 50), (0, 100)], "timed": [(0, 20)], "unclaimed": []}
    assert {name: sorted((seed, end) for own, seed, end in asked if own == name) for name in RIGHT} == expected


def test_going_on_from_disk_decides_the_same(asked):
    first = Decider(LOOKS, parts, 0, None).decide(Claims())
    count = len(asked)
    assert Decider(LOOKS, parts, 0, None).decide(Claims()).findings == first.findings and len(asked) == count


def test_what_an_earlier_run_asked_of_the_first_questions_is_shown_beside_and_costs_nothing(asked):
    class OneClaimed(Claims):
        name = "one_claimed"

        def claimed(self, cell):
            return cell.labels["m"] != "far"

        def findings(self, results):
            gap = results.difference({"m": "near"}, {"m": "same"})
            return [Finding("near over same", "", gap, "points", margin=POINT)]

    before = parts(0)._replace(there=(("far", 0), ("far", 7)))
    decider = Decider(LOOKS, lambda number: before if number == 0 else parts(number), 0, None)
    decided = decider.decide(OneClaimed())
    assert [(done.cell.seed, len(done.rows)) for done in decided.results.of(m="far")] == [(0, 20)]
    assert {method for method, _, end in asked if end > 20} == {"dense", "near", "same"}
    alone = Decider(LOOKS, parts, 0, None)
    assert alone.decide(OneClaimed()).findings == decided.findings and alone.spent == decider.spent


def test_a_shard_leaves_the_next_look_to_be_shared(asked):
    """One that had cells to run: the slowest of several would otherwise take the look alone."""
    looked = [Decider(LOOKS, parts, 0, None).decide(Claims(), Shard(1, 1)) for _ in LOOKS]
    assert [each.look for each in looked] == LOOKS
    assert [each.cells.whole for each in looked] == [False, False, True]
    assert {cell.labels["m"] for cell in looked[0].cells.missing} == {"near", "same"}
    whole = Decider(LOOKS, parts, 0, None).decide(Claims())
    assert whole.findings == looked[-1].findings and not any(part.made for part in whole.outcomes)


def test_a_budget_ends_it_before_the_look_that_would_be_too_dear(asked):
    """The first look takes 10 cells of 30 seconds; the next one's two cells and the dense one cost what is told."""
    decider = Decider(LOOKS, parts, 0, None, budget=300 + 380 - 1.0)
    decided = decider.decide(Claims())
    assert decider.spent == pytest.approx(300) and decided.look == LOOKS[0] and decided.undecided
    # Two cells: 4 * 50 - 3 * 20 groups at a second each, and 2 * 4 - 3 prunings of 10 seconds.
    assert decided.stopped == "0.1 hours have been spent, and the next look would take 0.1 more"
    assert Decider(LOOKS, parts, 0, None, budget=300 + 380 + 1.0).decide(Claims()).look == LOOKS[1]


def test_a_further_pass_over_finished_cells_decides_as_the_first_did(asked):
    decider, passes = Decider(LOOKS, parts, 0, None, budget=900.0), []
    for _ in range(2):
        decider.begin()
        decided = decider.decide(Claims())
        passes.append((decided.findings, decided.look, decided.stopped, decider.spent))
    assert passes[0] == passes[1] and passes[0][1] == LOOKS[1]


def test_what_rests_on_no_questions_is_judged_at_the_last_look_alone(asked):
    class Turning(Claims):
        """With a number that one look has above its bound and the next one below."""

        name = "turning"

        def findings(self, results):
            value = 1.0 if len(results.of(m="near")) == 3 else -1.0
            return [*super().findings(results), Finding("English", "", Estimate(value, value - 0.5, value + 0.5), "")]

    decided = Decider(LOOKS, parts, 0, None).decide(Turning())
    assert decided.look == LOOKS[-1] and decided.findings["English"].verdict == "does not hold"


def judge(world, groups, repetitions):
    """The verdict of whoever stops at the first look that decides, as ``decide`` does."""
    planned = looks(groups)
    drawn = list(world.drawn(np.random.default_rng(0), repetitions, planned[-1].seeds, groups))
    verdicts = ["undecided"] * repetitions
    for look in planned:
        values, spread = differences(drawn, look.seeds, look.groups)
        for index, (value, half) in enumerate(zip(values, spread.half(look.confidence), strict=True)):
            if verdicts[index] == "undecided":
                ours = Estimate(value, value - half, value + half)
                verdicts[index] = Finding("A keeps more.", "", ours, "points", margin=POINT).verdict
    return {verdict: verdicts.count(verdict) / repetitions for verdict in set(verdicts)}


def check(pair, scatter, groups, repetitions):
    alike = judge(World(pair, scatter), groups, repetitions)
    apart = judge(World(pair, scatter, gap=POINT), groups, repetitions)
    wrong, equal = alike.get("holds", 0) + alike.get("does not hold", 0), apart.get("practically equal", 0)
    print(f"{pair[0]}, scatter {scatter}: false differences {wrong:.1%}, false equality {equal:.1%}; "
          f"no difference {alike}; a point {apart}")  # fmt: skip
    assert wrong <= 0.05 and equal <= 0.05


def test_stopping_early_makes_no_more_verdicts_wrong():
    check(("atv_60", "text_60"), 0.3, groups=60, repetitions=200)


@pytest.mark.slow
@pytest.mark.parametrize("scatter", [0.0, 0.3, 1.2])
def test_stopping_early_makes_no_more_verdicts_wrong_with_all_questions(scatter):
    check(("atv_60", "text_60"), scatter, groups=400, repetitions=500)


def test_looking_as_often_at_95_percent_would():
    """What the shares of the looks are there for."""
    world, repetitions = World(("atv_60", "text_60"), 0.0), 400
    drawn = list(world.drawn(np.random.default_rng(0), repetitions, 5, 60))
    wrong = np.zeros(repetitions, bool)
    for look in looks(60):
        values, spread = differences(drawn, look.seeds, look.groups)
        wrong |= abs(values) > Spread(look.groups, 1, spread.question_variance, spread.freedom).half()
    shared = judge(world, 60, repetitions)
    assert wrong.mean() > 0.06 > 0.05 > shared.get("holds", 0) + shared.get("does not hold", 0)
