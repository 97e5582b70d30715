import json
import math
from dataclasses import replace

import pytest
from helpers.fake_results import Flat, write

from atv.ablation.findings import Finding
from atv.ablation.planning import cheapest
from atv.ablation.tables import RETENTION
from atv.reporting.collection import Collection
from atv.reporting.numbers import duration, strip, value_and_interval
from atv.reporting.pages import differing, setup, shared
from atv.reporting.section import Section
from atv.statistics.estimates import Estimate, Spread


def test_reads_back_what_an_ablation_wrote(results):
    section = Section.read(results / "flat")
    assert [finding.verdict for finding in section.findings] == [
        "reproduced",
        "not reproduced",
        "undecided",
        "practically equal",
    ]
    assert section.findings[0].ours.low == 18.1 and section.findings[0].paper == "33.73 points"
    assert section.size == (1120, 640) and section.figure.startswith("data:image/png;base64,iVBOR")
    assert [row[0].plain for row in section.shown.rows] == ["none", "text", "visual"]
    assert sum(section.seconds.values()) == 6 and section.written is not None


def test_a_verdict_is_the_intervals_whatever_the_file_calls_it(results):
    file = results / "flat" / "findings.json"
    rows = json.loads(file.read_text())
    rows[0]["ours"]["low"] = -1
    file.write_text(json.dumps(rows))
    assert Section.read(results / "flat").findings[0].verdict == "undecided"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("figure.png", None, "no figure.png"),
        ("figure.png", "no picture", "figure.png is not a picture"),
        ("run.json", '{"name": "flat"', "run.json is not valid JSON"),
        ("run.json", '{"name": "flat", "question": "?"}', "run.json has no paper"),
        ("findings.json", '[{"claim": "so"}]', r"findings.json has no 0\.ours"),
        ("findings.json", "3", "findings.json is 3: Input should be a valid list"),
        ("findings.json", "[", "findings.json is not valid JSON"),
        ("table.csv", "", "table.csv holds no table"),
        ("table.csv", f"{','.join(RETENTION)}\nreading{',x' * 9}\n", "flat/table.csv is not a table of results"),
    ],
)
def test_what_is_not_whole_says_why(results, file, content, message):
    path = results / "flat" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=message):
        Section.read(results / "flat")


SPREAD = {"groups": 2, "seeds": 1, "questions": 0.1, "freedom": 3.0, "drawn": 0.0, "both": 0.0}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("value", True, "0.ours.value is True: Input should be a valid number"),
        ("low", "18.1", "0.ours.low is '18.1': Input should be a valid number"),
        ("confidence", 1, "0.ours.confidence is 1: Input should be less than 1"),
        ("spread", {"groups": 0}, "0.ours.spread.groups is 0: Input should be greater than 0"),
        ("spread", SPREAD | {"freedom": 0}, "0.ours.spread.freedom is 0: Input should be greater than 0"),
        ("runs", "flat", "0.ours.runs is 'flat': Input should be a valid list"),
    ],
)
def test_a_number_that_is_none_is_named(results, field, value, message):
    path = results / "flat" / "findings.json"
    rows = json.loads(path.read_text())
    rows[0]["ours"][field] = value
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=message):
        Section.read(results / "flat")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", -1),
        ("seeds", 5),
        ("cells", [True]),
        ("versions", "x"),
        ("written", 3),
        ("git", {}),
        ("samples", "x"),
        ("seeds", [True]),
        ("whole_seeds", None),
        ("cells", [{"id": "a", "labels": {}, "seconds": -1}]),
    ],
)
def test_a_value_of_another_type_is_named(results, field, value):
    path = results / "flat" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=rf"run.json: {field}.* is .*: Input should be"):
        Section.read(results / "flat")


def test_a_time_without_its_zone_is_named(results):
    path = results / "flat" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"written": "2026-11-23T06:56:05"}))
    with pytest.raises(ValueError, match=r"run.json: written.* is '2026.*: Value error, it has no time zone"):
        Section.read(results / "flat")


@pytest.mark.parametrize("given", [{"class": None}, {"class": "Mixture", "sources": [3], "weights": "x"}])
def test_calibration_data_of_any_kind_are_shown(results, given):
    path = results / "flat" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": given}))
    section = Section.read(results / "flat")
    assert setup(section.run)["Calibration data"] and f"--calibration {given['class']} " in section.command


def test_an_undecided_finding_says_what_would_decide_it(results):
    section = Section.read(results / "flat")

    def open_finding(**spread):
        ours = Estimate.of(0.3, Spread(100, 3, 1.0, 800.0, **spread))
        return Finding("So.", "", replace(ours, runs=("calibration text",)), "points", margin=1.0)

    plan = cheapest(open_finding(), section, 1.0, 0.8)
    assert section.would_decide(open_finding()) == (
        f"Detecting a difference of 1 with a probability of 80% takes {plan.groups:,} groups per task and 3 seeds; "
        f"their cells take {duration(plan.seconds)}."
    )
    assert plan.groups > 100 and plan.seconds > 3 * 2
    assert "Seeds differ too much" in section.would_decide(open_finding(seed_variance=9.0))
    ours = Estimate.of(0.3, Spread(1, 1, math.inf, 1.0))
    alone = Finding("So.", "", replace(ours, runs=("calibration text",)), "points", margin=1.0)
    assert "A single cluster of questions shows no spread" in section.would_decide(alone)
    # Decided, and without a spread.
    assert not any(map(section.would_decide, section.findings))


class Other(Flat):
    """On another model."""

    name = "other"


def test_what_differs_names_its_sections_and_the_rest_is_shared(results, tmp_path):
    write(results, Other(), model="llava")
    sections = Collection.read(results, tmp_path).sections
    # Whether a checkout was changed is told as well, and may change while tests run.
    assert {name: own for name, own in differing(sections).items() if name != "Revision"} == {
        "Model": {"bundled": ["flat", "quiet"], "llava": ["other"]},
        "Groups per task": {"first 150": ["flat", "other"], "all": ["quiet"]},
        "Seeds": {"0": ["flat", "other"], "0, 1": ["quiet"]},
    }
    assert shared(sections)["Calibration samples"] == "128" and "torch 2" in shared(sections)["Versions"]
    assert not shared(sections).keys() & differing(sections).keys()


def test_a_changed_checkout_is_said_in_words():
    assert setup({"git": "bd2ac998b107+"}) == {"Revision": "bd2ac998b107, with uncommitted changes"}


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0.61234, 0.6021, 0.6234), ("0.612", "[0.602, 0.623]")),
        ((1234.5, 1000, 1500), ("1,234", "[1,000, 1,500]")),
        ((-0.04, -1.02, 0.94), ("0.0", "[\N{MINUS SIGN}1.0, 0.9]")),
        ((5.0, 5.0, 5.0), ("5.00", "[5.00, 5.00]")),
        ((float("nan"), float("nan"), float("nan")), ("not a number", "[not a number, not a number]")),
        ((3.0, 1.0, float("inf")), ("3.00", "[1.00, inf]")),
    ],
)
def test_two_digits_of_the_interval(finding, numbers, shown):
    assert value_and_interval(finding(*numbers)) == shown


def test_places_keep_their_order_and_proportions(finding):
    at = strip(finding(2.0, 1.0, 4.0, bound=0.0))
    assert at["bound"] < at["low"] < at["value"] < at["high"]
    assert (at["high"] - at["bound"]) / (at["low"] - at["bound"]) == pytest.approx(4, rel=1e-3)
    assert set(strip(finding(1.0, 1.0, 1.0, bound=1.0)).values()) == {50}
    assert strip(finding(1.0, 0.0, float("inf"))) is None
