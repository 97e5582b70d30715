from dataclasses import replace

import pytest
from helpers.any_results import AnyResults

from atv.ablation import NO_NUMBER, POINT, Finding
from atv.statistics.estimates import Estimate, Spread


def finding(low, high, margin=POINT, paper="1 point", **given):
    return Finding("A beats B", paper, Estimate((low + high) / 2, low, high), "points", margin=margin, **given)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 2, "reproduced"),
        (-1.5, 0.9, "undecided"),
        (-2, 0, "not reproduced"),
        (-2, -1, "not reproduced"),
        (-0.9, 0.9, "practically equal"),
        (-0.9, 1.0, "undecided"),
        # Direction comes before equality.
        (0.1, 0.9, "reproduced"),
        (-0.9, 0, "not reproduced"),
        # Answers that differ nowhere.
        (0, 0, "practically equal"),
    ],
)
def test_the_interval_gives_the_verdict(low, high, verdict):
    assert finding(low, high).verdict == verdict


def test_equality_is_said_only_of_what_has_a_margin_and_near_the_bound():
    assert finding(-0.9, 0.9, margin=None).verdict == "undecided"
    assert finding(97.2, 98.9, bound=98.0).verdict == "practically equal"
    assert finding(0.1, 0.2, paper="").verdict == "holds" and finding(-0.2, 0, paper="").verdict == "does not hold"
    assert finding(-0.2, 0.1, paper="").verdict == "practically equal"


@pytest.mark.parametrize(
    ("low", "high", "printed", "remark"),
    [
        (0.1, 0.9, 0.5, "But by less than the margin of 1."),
        (-0.9, 0.9, None, "Any difference is below the margin of 1."),
        (
            -0.9,
            0.9,
            0.48,
            "own difference, 0.48, is below the margin of 1, too: this neither repeats nor contradicts it.",
        ),
        (-0.9, 0.9, 5.64, "own difference, 5.64, is not below the margin of 1: so great a one is not found here."),
        (-0.9, 1.9, 5.64, ""),
        (1.1, 1.9, 5.64, ""),
    ],
)
def test_a_remark_says_what_the_word_leaves_open(low, high, printed, remark):
    assert finding(low, high, printed=printed).remark.endswith(remark) and (remark or not finding(low, high).remark)


def measured(value, confidence=0.95):
    spread = Spread(80, 3, 0.04, 700.0, 0.01, 0.005)
    return Finding("A beats B", "", Estimate.of(value, spread, confidence), "points", margin=POINT)


@pytest.mark.parametrize("value", [1.2, -1.2, 0.05, 0.45])
def test_p_is_what_confidence_the_verdict_bears(value):
    """At 1 - p the interval touches the bound that decides it."""
    ours = measured(value)
    low, high = (lambda own: (own.low, own.high))(ours.ours.at(1 - ours.p))
    touched = {"holds": low, "does not hold": high, "practically equal": 1 - max(high, -low), "undecided": low}
    assert touched[ours.verdict] == pytest.approx(0, abs=1e-9)
    assert (ours.p < 0.05) == (ours.verdict != "undecided")


def test_p_of_an_early_look_counts_its_share_of_the_five_percent():
    ours, early = measured(1.2), measured(1.2, confidence=0.99)
    assert early.p == pytest.approx(5 * ours.p) and measured(0.01, confidence=0.999999).p == 1


def of_alike(clusters, value=100.0, runs=("A", "B"), confidence=0.95):
    """Answers to so many questions that all differ in the same way."""
    ours = Estimate.of(value, Spread(clusters, 1, 0.0, clusters - 1.0), confidence)
    return Finding("A beats B", "", replace(ours, runs=runs), "points", margin=POINT)


@pytest.mark.parametrize("value", [100.0, -100.0, 0.5])
def test_few_questions_that_differ_alike_show_no_direction(value):
    assert [of_alike(clusters, value).verdict for clusters in (3, 5)] == ["undecided"] * 2
    assert [of_alike(clusters, value).p for clusters in (3, 5, 6)] == [0.25, 0.0625, 0.03125]
    assert of_alike(6, value).verdict == ("holds" if value > 0 else "does not hold")
    assert of_alike(6, value, confidence=0.97).verdict == "undecided" and of_alike(3, value).remark == ""
    assert of_alike(100, value).p == 0


def test_what_rests_on_no_question_or_differs_nowhere_is_judged_however_few():
    assert (of_alike(3, runs=()).verdict, of_alike(3, runs=()).p) == ("holds", 0)
    assert of_alike(3, 0.0).verdict == "practically equal"


def test_bounds_of_another_kind_have_no_p():
    assert finding(0.1, 0.2).p is None


A, B = {"method": "A"}, {"method": "B"}


def test_a_claim_that_the_paper_does_not_make_has_our_own_words():
    ours = AnyResults().keeps_more("A keeps more.", A, B)
    assert (ours.paper, ours.printed, ours.verdict) == ("", None, "holds")
    assert replace(ours, ours=Estimate(-1.0, -1.5, -0.5)).verdict == "does not hold"
    assert AnyResults().keeps_above("A keeps more than 98%.", A, 98.0).verdict == "holds"


@pytest.mark.parametrize(
    ("paper", "printed", "said"),
    [
        (NO_NUMBER, None, "no number"),
        ("", 5.64, "5.64 points"),
        (NO_NUMBER, 5.6, "5.60 points"),
        ("14.6 points (99.25% against 84.65%)", 14.6, "14.6 points (99.25% against 84.65%)"),
    ],
)
def test_a_claim_of_the_papers_is_reproduced_or_not(paper, printed, said):
    theirs = AnyResults().keeps_more("A keeps more.", A, B, paper=paper, printed=printed)
    assert (theirs.paper, theirs.printed, theirs.verdict) == (said, printed, "reproduced")


def test_what_a_single_method_keeps_is_said_in_percent():
    assert AnyResults().keeps_above("A keeps more than 98%.", A, 98.0, printed=99.37).paper == "99.37%"


def test_as_much_is_within_a_point_or_what_is_allowed():
    assert AnyResults().keeps_as_much("A keeps as much.", A, B).bound == -POINT
    assert AnyResults().keeps_as_much("A costs less than 5 points.", A, B, within=5.0).bound == -5.0


def test_plain_english_is_compared_in_a_unit_of_its_own():
    read = AnyResults().keeps_more_english("A keeps more of plain English.", A, B)
    assert read.unit.startswith("points of a token's probability") and read.count == "3 texts, 1 seed"
    assert read.margin == POINT and read.verdict == "holds"
