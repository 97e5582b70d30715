"""Every type passes the checks that the stored table says it passes, and fails the others."""

import json

import pytest
from conformance.checks import CHECKS
from conformance.make import PAGE
from conformance.page import page
from conformance.support import REFUSED, facts, refusal, untried
from conformance.table import TYPES, build, usual_samples

from atv.commands.models import TABLE

STORED = json.loads(TABLE.read_text())
RENEW = "`make models` renews the table"


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize("kind", TYPES)
def test_a_type_does_what_the_table_says(kind):
    stored, model = STORED["types"][kind], build(kind)
    for check in CHECKS:
        if check.__name__ in stored["failed"]:
            with pytest.raises(Exception) as error:
                check(model, usual_samples(kind))
            assert f"{error.type.__name__}: {error.value}" == stored["failed"][check.__name__], RENEW
        else:
            check(model, usual_samples(kind))
    assert facts(kind, model) == {key: value for key, value in stored.items() if key != "failed"}, RENEW


@pytest.mark.parametrize("kind", REFUSED)
def test_types_that_cannot_work_are_refused_by_name(kind):
    assert refusal(kind) == STORED["refused"][kind], RENEW


def test_the_table_has_every_type_and_at_least_thirty_that_pass_everything():
    assert list(STORED["types"]) == list(TYPES) and list(STORED["refused"]) == list(REFUSED), RENEW
    assert list(STORED["checks"]) == [check.__name__ for check in CHECKS], RENEW
    assert sum(not row["failed"] for row in STORED["types"].values()) >= 30


def test_every_type_of_transformers_is_in_the_table():
    assert STORED["untried"] == untried(), RENEW
    assert not STORED["untried"].keys() & (STORED["types"].keys() | STORED["refused"].keys())


def test_the_page_is_made_of_the_table():
    assert PAGE.read_text() == page(STORED), RENEW
