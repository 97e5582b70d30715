"""Differences, flips and corrections of whole comparisons, against loops over the answers."""

import numpy as np
import pandas as pd
import pytest
from helpers.answered import HOW, answers, benchmark_folder, cell_folder, mostly, suite

import atv
from atv.comparison.answers import Answers, table
from atv.comparison.compared import Comparison
from atv.comparison.units import Units
from atv.evaluation.clusters import clusters_of
from atv.evaluation.scores import task_scores
from atv.statistics.paired_scores import corrected


def question(task, metric, number, group="", category="", picture="", answer="A", **more):
    name = f"{task}-{number}"
    own = {"task": task, "metric": metric, "question_id": name, "group": group or name, "category": category}
    own |= {"picture": picture, "seen": name, "answer": answer, "question": f"Question {number}?"}
    return own | {"options": ["star", "ring"], "answers": []} | more


def models(rows, *said):
    """Models that say these texts to the questions, in order."""
    named = enumerate(said)
    return [
        Answers(
            f"model {number}", (f"source {number}",), (table(answers(rows, lambda _, place, own=own: own[place]), ""),)
        )
        for number, own in named
    ]


ROWS = [
    # Circular questions count whole: two of three rotations are nothing.
    *(question("turning", "CircularChoice", n, group=f"g{n // 3}", picture=f"p{n // 3}") for n in range(12)),
    # Means over two categories of unequal size.
    *(question("paired", "PairedYesNo", n, f"i{n // 2}", "ab"[n > 3], f"p{n // 2}", "yes") for n in range(16)),
    *(question("words", "ExactMatch", n, picture="" if n > 4 else "p0") for n in range(10)),
]
RNG = np.random.default_rng(5)
SAID = [[row["answer"] if RNG.random() < share else "no" for row in ROWS] for share in (0.9, 0.7, 0.6)]


@pytest.fixture(scope="module")
def comparison():
    return Comparison.of(models(ROWS, *SAID))


def test_scores_are_the_metrics_own(comparison):
    scores = [task_scores(model.rows) for model in comparison.models]
    for row in comparison.of_kind("tasks"):
        own = 1 if row.model == "model 1" else 2
        assert row.first == pytest.approx(100 * scores[0][row.task].score)
        assert row.second == pytest.approx(100 * scores[own][row.task].score)
        assert row.effect.value == pytest.approx(row.second - row.first)
    for own, row in enumerate(comparison.of_kind("averages"), start=1):
        means = [100 * np.mean([score.score for score in of.values()]) for of in (scores[0], scores[own])]
        assert (row.first, row.second) == pytest.approx(tuple(means)) and row.questions == len(ROWS)
    assert {(row.task, row.category) for row in comparison.of_kind("categories")} == {("paired", "a"), ("paired", "b")}


def test_what_shares_a_group_or_a_picture_is_one_cluster(comparison):
    rows = comparison.models[0].rows
    clusters = pd.Series(clusters_of(rows), index=rows["question_id"])
    # p0 is shown to a group of each task; what has no picture is alone.
    assert clusters[["turning-0", "turning-2", "paired-0", "paired-1", "words-0", "words-4"]].nunique() == 1
    assert clusters[["words-5", "words-6", "words-9", "turning-3", "paired-4"]].nunique() == 5
    assert clusters["turning-3"] == clusters["paired-2"] and clusters.nunique() == 8 + 5
    assert comparison.rows[0].effect.clusters == 13
    assert pd.Series(clusters_of(rows.drop(columns="picture"))).nunique() == 4 + 8 + 10


def test_units_are_groups_with_the_metrics_values(comparison):
    units = Units.of(list(comparison.models), clusters_of(comparison.models[0].rows))
    assert [len(values[0]) for values in units.scores] == [22, 22, 22]
    turning = units.subset((units.table["task"] == "turning").to_numpy())
    credit = comparison.models[0].rows.query("task == 'turning'").groupby("group")["credit"].min()
    assert sorted(turning.scores[0][0]) == sorted(credit)


def test_flips_are_counted_question_by_question(comparison):
    for number, row in enumerate(comparison.of_kind("averages"), start=1):
        first, other = SAID[0], SAID[number]
        truths = [own["answer"] for own in ROWS]
        triples = list(zip(first, other, truths, strict=True))
        assert row.flips.lost == sum(a == truth != b for a, b, truth in triples) > 0
        assert row.flips.gained == sum(b == truth != a for a, b, truth in triples) > 0
        assert row.flips.agreement == pytest.approx(np.mean([a == b for a, b, _ in triples]))


def test_a_changed_answer_need_not_change_the_score():
    rows = [question("words", "ExactMatch", n) for n in range(6)]
    found = Comparison.of(models(rows, ["red"] * 6, ["blue", "red", "Red.", "one", "two", "red"]))
    assert found.rows[0].effect.value == 0 and found.rows[0].effect.p == 1
    # "Red." is read as "red".
    assert found.rows[0].flips.agreement == 0.5 and found.rows[0].flips.lost == 0


def test_p_values_are_corrected_over_all_comparisons_of_a_kind(comparison):
    for kind, count in (("averages", 2), ("tasks", 6), ("categories", 4)):
        rows = comparison.of_kind(kind)
        assert len(rows) == count
        assert [row.corrected for row in rows] == pytest.approx(
            corrected([row.effect.p for row in rows], "any false one")
        )


def test_questions_of_one_right_or_wrong_answer_are_tested_exactly():
    rows = [question("words", "ExactMatch", n) for n in range(60)]
    said = [["A"] * 40 + ["no"] * 20, ["no"] * 12 + ["A"] * 32 + ["no"] * 16]
    effect = Comparison.of(models(rows, *said)).rows[0].effect
    # 12 lost and 4 gained: P(at most 4 or at least 12 of 16 coins).
    assert effect.test == "exact" and effect.p == pytest.approx(2 * 2517 / 2**16)


def test_seeds_of_one_model_are_one_and_equal_seeds_are_paired(tmp_path):
    questions = suite(1)

    def cell(method, seed, *wrong, **more):
        folder = tmp_path / f"{method} {seed}"
        return cell_folder(folder, mostly(*wrong), questions, {"method": method}, seed, **more)

    dense = cell("dense", 0, pathways=False)
    one = [cell("one", seed, *range(seed)) for seed in range(3)]
    two = [cell("two", seed, *range(seed + 1)) for seed in range(3)]
    found = atv.compare(dense, one, two)
    assert [model.seeds for model in found.models] == [(None,), (0, 1, 2), (0, 1, 2)]
    averages = found.of_kind("averages")
    assert [row.flips.lost for row in averages] == [1, 2] and [row.flips.gained for row in averages] == [0, 0]
    paired = atv.compare(one, two).rows[0]
    # Seed by seed one more is lost, never two or none.
    assert (paired.flips.lost, paired.flips.gained, paired.flips.agreement) == (1, 0, pytest.approx(12 / 13))
    with pytest.raises(ValueError, match="the same seed appears twice"):
        atv.compare(dense, [one[0], one[0]])
    with pytest.raises(ValueError, match="of one model must have the same labels; 'method two' is not 'method one'"):
        atv.compare(dense, [one[0], two[1]])
    longer = cell(
        "one", 7, asked_with=HOW | {"max_new_tokens": dict.fromkeys(found.models[0].tasks, 9)}, inputs={"a": "b"}
    )
    with pytest.raises(ValueError, match="max_new_tokens is 8 there and 9 here"):
        atv.compare(dense, [one[0], longer])


def test_answers_that_do_not_end_or_only_repeat_are_counted(tmp_path):
    questions = suite(1)
    dense = cell_folder(tmp_path / "a", mostly(), questions, {"method": "dense"})
    folder = cell_folder(tmp_path / "b", mostly(2, 5), questions, {"method": "one"})
    rows = pd.read_parquet(folder / "rows.parquet")
    rows.assign(ended=[False] * 3 + [True] * 10).to_parquet(folder / "rows.parquet")
    fluency = atv.compare(dense, folder).fluency
    assert (fluency["method dense"].unended, fluency["method dense"].repeating) == (0, 0)
    assert fluency["method one"].unended == pytest.approx(3 / 13)
    assert fluency["method one"].repeating == pytest.approx(2 / 13)


def test_benchmarks_whose_questions_share_pictures_know_it(data, tmp_path):
    folders = [
        benchmark_folder(tmp_path / name, mostly(*wrong), data, "GQA") for name, wrong in (("a", ()), ("b", (1,)))
    ]
    row = atv.compare(*folders).rows[0]
    # Six questions about three pictures.
    assert (row.groups, row.effect.clusters) == (6, 3)


def test_one_model_is_nothing_to_compare_and_none_comes_twice(comparison):
    with pytest.raises(ValueError, match="expected two or more"):
        Comparison.of(comparison.models[:1])
    with pytest.raises(ValueError, match="'source 0' appears twice"):
        Comparison.of([comparison.models[0]] * 2)
