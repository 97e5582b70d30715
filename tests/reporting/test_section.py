import json
from dataclasses import replace

import pytest

from atv.ablation.findings import Finding
from atv.ablation.planning import cheapest
from atv.ablation.tables import RETENTION
from atv.reporting.numbers import duration
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
        ("figure.png", "no picture", "figure.png is no picture"),
        ("run.json", '{"name": "flat"', "run.json is no JSON"),
        ("run.json", '{"name": "flat", "question": "?"}', "run.json has no paper"),
        ("findings.json", '[{"claim": "so"}]', r"findings.json has no 0\.ours"),
        ("findings.json", "3", "findings.json is 3: Input should be a valid list"),
        ("findings.json", "[", "findings.json is no JSON"),
        ("table.csv", "", "table.csv holds no table"),
        ("table.csv", f"{','.join(RETENTION)}\nreading{',x' * 9}\n", "flat/table.csv is no table of results"),
    ],
)
def test_what_is_not_whole_says_why(results, file, content, message):
    path = results / "flat" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=message):
        Section.read(results / "flat")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("value", True, "0.ours.value is True: Input should be a valid number"),
        ("low", "18.1", "0.ours.low is '18.1': Input should be a valid number"),
        ("confidence", 1, "0.ours.confidence is 1: Input should be less than 1"),
        ("spread", {"groups": 0}, "0.ours.spread.groups is 0: Input should be greater than 0"),
        ("runs", "flat", "0.ours.runs is 'flat': Input should be a valid list"),
        ("more", 1, "findings.json holds something else"),
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
    ],
)
def test_a_value_of_another_type_is_named(results, field, value):
    path = results / "flat" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=rf"run.json: {field}.* is .*: Input should be"):
        Section.read(results / "flat")


def test_an_undecided_finding_says_what_would_decide_it(results):
    section = Section.read(results / "flat")

    def open_finding(**spread):
        ours = Estimate.of(0.3, Spread(100, 3, 1.0, 800.0, **spread))
        return Finding("So.", "", replace(ours, runs=("calibration text",)), "points", margin=1.0)

    plan = cheapest(open_finding(), section, 1.0, 0.8)
    assert section.would_decide(open_finding()) == (
        f"A difference of 1 would be told, with a chance of 80%, by {plan.groups:,} groups of each task and 3 seeds: "
        f"{duration(plan.seconds)} of cells."
    )
    assert plan.groups > 100 and plan.seconds > 3 * 2
    assert "Seeds differ too much" in section.would_decide(open_finding(drawn=9.0))
    # Decided, and without a spread.
    assert not any(map(section.would_decide, section.findings))
