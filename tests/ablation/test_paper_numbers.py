"""The paper's numbers stand in several files, as averages and as differences: they are the same ones."""

import sys

import pytest

from experiments.paper_tables import PAPER

GRID = {"SparseGPT": "sparsegpt", "Wanda": "wanda", "AMIA": "amia", "ATV": "atv"}


@pytest.fixture
def stated(kinds):
    """A constant of an ablation's file."""
    return lambda name, constant: getattr(sys.modules[kinds[name].__module__], constant)


def test_averages_are_those_of_the_papers_grid(stated):
    main, settings = stated("main_results", "PAPER"), stated("main_results", "PAPER_SETTINGS")
    grid = [setting.removesuffix("%").replace(":", "_") for setting in settings]
    by_method = PAPER["llava_next_8b"]
    assert {GRID[name]: dict(zip(grid, kept, strict=True)) for name, kept in main.items()} == by_method


def test_the_pilots_differences_are_of_these_averages(stated):
    main, settings = stated("main_results", "PAPER"), stated("main_results", "PAPER_SETTINGS")
    assert stated("pilot", "PAPER") == {
        setting: {
            other: pytest.approx(main["ATV"][column] - kept[column]) for other, kept in main.items() if other != "ATV"
        }
        for column, setting in enumerate(settings)
    }


def test_the_pilots_pathways_lie_as_far_apart_as_where_each_is_pruned_alone(stated):
    text, visual = stated("calibration_source", "PAPER"), stated("calibration_source", "PAPER_VISUAL")
    apart = stated("pilot", "PAPER_PARTED")
    assert apart["50%"] == pytest.approx(visual["visual"] - text[0.5]["text"])
    # 99.25% is in the paper's text alone.
    assert apart["60%"] == pytest.approx(99.25 - text[0.6]["text"])
