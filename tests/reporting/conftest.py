import shutil

import pytest
from helpers.fake_results import Flat, Quiet, write

from atv.ablation.findings import Finding
from atv.statistics.estimates import Estimate


@pytest.fixture(scope="session")
def _results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write(folder, Flat())
    write(folder, Quiet(), seeds=[0, 1], groups=None)
    return folder


@pytest.fixture
def results(_results, tmp_path):
    """A results folder of two ablations: one with a finding of every verdict, one without findings."""
    return shutil.copytree(_results, tmp_path / "results")


@pytest.fixture
def finding():
    """Builds a finding from its number, interval and bound."""
    return lambda value, low, high, bound=0.0: Finding("It is so.", "2.0", Estimate(value, low, high), "points", bound)
