"""Findings of two models are set beside each other, and drawn together."""

import json

import pytest
from helpers.fake_results import Flat, write
from scipy.stats import t

from atv.ablation.findings import Finding
from atv.reporting.carry_over import Pair, carried_counts, pairs
from atv.reporting.collection import Collection
from atv.reporting.forest import COLORS, forest_figure
from atv.reporting.pages import page
from atv.statistics.estimates import Estimate, Spread


class Kept:
    """Stands for an ablation's section: its name, question and findings."""

    def __init__(self, name, *findings):
        self.name, self.run, self.findings = name, {"question": f"{name}?"}, findings


class Held:
    """Stands for a results folder."""

    def __init__(self, *sections):
        self.sections = sections


def finding(claim, low=0.5, high=1.5, **given):
    given = {"unit": "points of retention", "paper": "", "margin": 1.0} | given
    return Finding(claim, ours=Estimate((low + high) / 2, low, high), **given)


def over(setting, **given):
    return finding(f"ATV keeps more than Wanda at {setting}.", **given)


def test_the_hardest_share_goes_with_the_hardest_and_a_pattern_with_itself():
    tiny = Held(Kept("main", *map(over, ("50%", "60%", "70%", "2:4"))), Kept("alone", finding("So it is.")))
    real = Held(Kept("main", *map(over, ("20%", "30%", "40%", "50%", "6:8", "2:4"))), Kept("further", over("40%")))
    said = [tuple(each and each.claim.split()[-1] for each in (pair.first, pair.second)) for pair in pairs(tiny, real)]
    assert said == [
        *(("50%.", "30%."), ("60%.", "40%."), ("70%.", "50%."), ("2:4.", "2:4.")),
        *((None, "20%."), (None, "6:8."), ("is.", None), (None, "40%.")),
    ]
    assert [pair.ablation for pair in pairs(tiny, real)] == ["main"] * 6 + ["alone", "further"]
    assert all(pair.second is None for pair in pairs(tiny))


def test_findings_of_different_ablations_belong_together_where_they_compare_the_same_cells():
    def compared(claim, one, other, setting):
        runs = tuple(f"method {method}, setting {setting}" for method in (one, other))
        return Finding(claim, "", Estimate(1.0, 0.5, 1.5, runs=runs), "points", margin=1.0)

    settings = ("60%", "70%", "2:4")
    tiny = Kept("main", *(compared(f"ATV exceeds Wanda at {own}.", "ATV", "Wanda", own) for own in settings))
    real = Kept(
        "pilot",
        *(compared(f"At {own}, ATV beats Wanda.", "ATV", "Wanda", own) for own in ("50%", "2:4")),
        compared("At 50%, Wanda beats ATV.", "Wanda", "ATV", "50%"),
    )
    said = [tuple(each and each.claim for each in (pair.first, pair.second)) for pair in pairs(Held(tiny), Held(real))]
    assert said == [
        ("ATV exceeds Wanda at 60%.", None),
        ("ATV exceeds Wanda at 70%.", "At 50%, ATV beats Wanda."),
        ("ATV exceeds Wanda at 2:4.", "At 2:4, ATV beats Wanda."),
        (None, "At 50%, Wanda beats ATV."),
    ]
    assert [pair.other_share for pair in pairs(Held(tiny), Held(real))] == ["", "50%", "", ""]


def test_findings_of_different_ablations_belong_together_where_they_claim_the_same():
    tiny = Kept("beyond", over("70%"), over("60%", bound=-1.0))
    real = Kept("pilot", over("50%"), over("40%"))
    said = [
        tuple(each and each.claim.split()[-1] for each in (pair.first, pair.second))
        for pair in pairs(Held(tiny), Held(real))
    ]
    assert said == [("70%.", "50%."), ("60%.", None), (None, "40%.")]


def test_claims_of_several_shares_go_by_all_of_them_and_equal_ones_one_by_one():
    def both(text, visual, **given):
        return finding(f"Text at {text}% keeps more than visual at {visual}%.", **given)

    first = Kept("main", both(50, 60), both(50, 70), both(60, 60), both(50, 60, bound=-1.0))
    second = Kept("main", both(20, 40), both(20, 50), both(30, 30), both(20, 40, bound=-1.0))
    found = pairs(Held(first), Held(second))
    assert [(pair.first, pair.second) for pair in found] == [*zip(first.findings, second.findings, strict=True)]
    assert found[0].other_share == "20% and 40%"
    second_alone = pairs(Held(Kept("main", both(50, 60))), Held(Kept("main", both(50, 70))))
    assert [pair.other_share for pair in second_alone] == ["50% and 70%"]


def test_what_a_claim_exceeds_is_no_share_of_the_weights():
    first, second = (f"All keep more than 80% of them at {share}, more than 98%." for share in ("70%", "50%"))
    (pair,) = pairs(Held(Kept("text", finding(first))), Held(Kept("text", finding(second))))
    assert (pair.first.claim, pair.second.claim) == (first, second)
    fewer = finding("All keep more than 20% of them at 50%, more than 98%.")
    assert len(pairs(Held(Kept("text", finding(first))), Held(Kept("text", fewer)))) == 2


YES, NO, EQUAL, OPEN = (0.5, 1.5), (-1.5, -0.5), (-0.5, 0.5), (-2, 2)


@pytest.mark.parametrize(
    ("one", "other", "carried"),
    [
        (YES, YES, "carried over"),
        (NO, NO, "carried over"),
        (EQUAL, EQUAL, "carried over"),
        (YES, NO, "not carried over"),
        (YES, EQUAL, "not carried over"),
        (YES, OPEN, "open"),
        (OPEN, OPEN, "open"),
        (YES, None, "one model alone"),
    ],
)
def test_a_finding_carries_over_where_both_verdicts_say_the_same(one, other, carried):
    # The paper makes the claim of one model: "reproduced" says what "holds" does.
    pair = Pair("a", "?", finding("So.", *one, paper="2 points"), finding("So.", *other) if other else None)
    assert pair.carried == carried and carried_counts([pair])[carried] == 1


def test_every_number_is_drawn_where_it_lies_beyond_its_bound():
    made = [
        Pair("a", "One?", over("50%", printed=5.64), over("30%", low=-3.0, high=1.0)),
        Pair("b", "Two?", finding("Much.", 97.0, 99.5, bound=98.0, unit="% of the dense score")),
        Pair("b", "Two?", None, finding("Some.", 0.7, 0.8, bound=0.3, unit="mean IoU")),
    ]
    figure = forest_figure(made, ["bundled", "everyday"])
    points, other = figure.axes

    def drawn(axes, color):
        return [tuple(round(float(x), 6) for x in line.get_xdata()) for line in axes.lines if line.get_color() == color]

    first, second = COLORS
    # An interval, then its value.
    assert drawn(points, first)[:4] == [(0.5, 1.5), (1.0,), (-1.0, 1.5), (0.25,)]
    assert drawn(points, second)[:2] == [(-3.0, 1.0), (-1.0,)] and drawn(points, "black")[0] == (5.64,)
    assert drawn(other, second) == [(0.4, 0.5), (0.45,)] and not drawn(other, first)
    hollow = [line.get_markerfacecolor() == "white" for line in points.lines if line.get_marker() in ("o", "s")]
    assert hollow[:3] == [False, True, True]
    labels = [label.get_text() for label in points.get_yticklabels()]
    assert labels == ["One?", "ATV keeps more than Wanda at 50%. (everyday: 30%)", "Two?", "Much."]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "the paper"


def test_numbers_without_bounds_are_drawn_as_what_they_are():
    endless = Finding("So.", "", Estimate(1.0, float("-inf"), float("inf")), "points")
    figure = forest_figure([Pair("a", "?", endless), Pair("a", "?", over("50%"))], ["bundled"])
    assert [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"][:2] == [1, 1]
    figure.savefig("/dev/null", format="png", dpi=20)


def test_the_legend_says_what_intervals_are_drawn():
    spread = Spread(80, 3, 1.0, 700.0)
    early = [Finding("So.", "", Estimate.of(1.0, spread, confidence), "points") for confidence in (0.995, 0.97, 0.985)]

    def legend(*first):
        figure = forest_figure([Pair("a", "?", *each) for each in first], ["bundled", "everyday"])
        return [text.get_text().removesuffix(" (hollow: undecided)") for text in figure.legends[0].get_texts()]

    usual, bare = Finding("So.", "", Estimate.of(1.0, spread), "points"), finding("So.")
    assert legend((usual, early[0]), (usual, bare)) == [
        "bundled, 95% interval", "everyday, 99.5% interval or bounds of another kind"
    ]  # fmt: skip
    assert legend(*([bare, each] for each in early)) == ["bundled, interval", "everyday, 97% to 99.5% interval"]


class Later(Flat):
    """Of the paper's appendix."""

    name, paper = "a_later_one", "Table A5"


def test_what_repeats_the_paper_comes_first_in_its_order(results, tmp_path):
    write(results, Later())
    found = Collection.read(results, tmp_path)
    assert [section.name for section in found.sections] == ["flat", "a_later_one", "quiet"]


def test_counts_verdicts_and_shared_cells_once(results, tmp_path):
    found = Collection.read(results, tmp_path)
    assert found.verdicts == {"reproduced": 1, "not reproduced": 1, "practically equal": 1, "undecided": 1}
    assert len(found.seconds) == 3 and sum(found.seconds.values()) == 6


class Measured(Flat):
    """Differences with their spread."""

    name, paper = "measured", "Table 2"

    def findings(self, results):
        spread = Spread(80, 3, 1.0, 700.0, 0.0, 0.0)
        return [Finding(f"{value} is above 0.", "", Estimate.of(value, spread), "") for value in (0.5, 2.0, 4.0, 6.0)]


def test_verdicts_are_corrected_for_all_findings_of_the_report(results, tmp_path):
    assert not Collection.read(results, tmp_path).corrected  # made-up bounds without a spread
    write(results, Measured())
    found = Collection.read(results, tmp_path)
    p = [2 * t.sf(value, 700) for value in (0.5, 2.0, 4.0, 6.0)]
    # By hand: sorted from the greatest, p times 4 over its rank, never more than the next greater one's.
    assert list(found.corrected.values()) == pytest.approx([p[0], p[1] * 4 / 3, p[2] * 2, p[3] * 4], rel=1e-6)
    assert [finding.verdict for finding in found.corrected] == ["undecided", "holds", "holds", "holds"]
    assert list(found.standing.values()) == [False, True, True]
    text = page(found, tmp_path, "md")
    assert "corrected for all 4 findings" in text and "2 of 3 decided verdicts stand" in text
    assert "Corrected p: 0.061." in text and "Corrected p: <0.001." in text
    html = page(found, tmp_path, "html")
    assert "2 of 3 decided verdicts stand" in html and "corrected p 0.061" in html


def test_other_folders_are_named_and_the_cells_and_the_report_are_not(results):
    (results / "notes").mkdir()
    (results / "report").mkdir()
    (results / "quiet" / "run.json").write_text(json.dumps({"name": "quiet"}))
    found = Collection.read(results, results / "report")
    assert found.skipped.keys() == {"notes", "quiet"} and "run.json has no question" in found.skipped["quiet"]
    assert found.skipped["notes"] == "no run.json, findings.json, table.csv"


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"results: no folder '.*nowhere'"):
        Collection.read(tmp_path / "nowhere", tmp_path)
    (tmp_path / "half").mkdir()
    with pytest.raises(ValueError, match=r"results: no ablation's results in .*\(half: no run.json"):
        Collection.read(tmp_path, tmp_path / "report")
