"""Claims, bounds and margins are written down before cells are run: none is removed, turned or widened silently.

A claim that is new, or meant to change, is written by ``PYTHONPATH=tests python -m helpers.any_results``, and so stands
in the commit that changes it.
"""

import json

import pytest
from helpers.any_results import CLAIMS, AnyResults, stated

from atv.ablation import POINT, SUITED

WRITTEN = json.loads(CLAIMS.read_text())
NAMES = [(model, name) for model, by_name in WRITTEN.items() for name in by_name]


@pytest.mark.parametrize(("model", "name"), NAMES)
def test_claims_and_margins_are_as_written_down(kinds, model, name):
    assert stated(kinds[name], SUITED[model]) == WRITTEN[model][name]


def test_every_ablation_is_written_down(kinds):
    for model, levels in SUITED.items():
        assert {name for name, kind in kinds.items() if stated(kind, levels)} == WRITTEN[model].keys()


def test_what_stands_behind_a_number_is_what_it_was_measured_on(kinds):
    class Counting(AnyResults):
        def count(self, task="average", /, **labels):
            return task

    for name, mark, counts in (
        ("calibration_domain", "On ", ["knowledge", "circular", "multistep"]),
        ("weight_update", "plain English", ["3 texts, 1 seed"] * 5),
    ):
        findings = kinds[name]().findings(Counting())
        assert [finding.count for finding in findings if mark in finding.claim] == counts
        assert {finding.count for finding in findings if mark not in finding.claim} == {"average"}


def test_differences_of_retention_have_a_margin_of_a_point_or_a_loss_that_they_allow():
    for model, name in NAMES:
        for claim, (bound, margin, unit) in WRITTEN[model][name].items():
            if unit == "points of retention":
                losses = (-1.0, -5.0) if "costs" in claim and "less than 5 points" in claim else (-1.0,)
                assert (bound, margin) == (0.0, POINT) or (bound in losses and margin is None), claim
