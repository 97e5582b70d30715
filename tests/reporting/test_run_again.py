"""The command line of a run is read back by the real parser."""

import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from atv.ablation.grid import GridSettings
from atv.cli import parser
from atv.reporting.run_again import RECORDED, run_again

RUN = {"file": "my rules/it's one.py", "model": "models/a b", "calibration": "bundled", "samples": 16, "split": "dev"}


@pytest.mark.parametrize("groups", [None, 3])
def test_the_real_parser_reads_back_what_was_run(groups):
    run = RUN | {"evaluation": "bundled", "groups": groups, "seeds": [4, 5, 6], "whole_seeds": 2, "max_new_tokens": 5}
    program, *words = shlex.split(run_again(run, Path("out/our results")))
    given = parser().parse_args(words).ablate
    assert program == "atv" and (given.seed, given.seeds) == (4, 2)
    assert str(given.file) == run["file"] and given.results == Path("out/our results")
    named = ("model", "calibration", "samples", "evaluation", "split", "groups", "max_new_tokens")
    assert {name: given[name] for name in named} == {name: run[name] for name in named}


NESTED = {
    "class": "Mixture",
    "sources": [
        {"class": "TextAlone", "source": {"class": "BundledScenes", "said": "facts", "tasks": ["it's", "count"]}},
        {"class": "Bundled"},
    ],
    "weights": [3.0, 1.0],
}


@pytest.mark.parametrize("calibration", [NESTED, NESTED["sources"][0], NESTED["sources"][0]["source"]])
def test_the_real_parser_reads_back_sources_made_of_others(calibration):
    run = RUN | {"calibration": calibration, "seeds": [0]}
    given = parser().parse_args(shlex.split(run_again(run, Path("results")))[1:])
    assert parser().instantiate(given).ablate.calibration.record() == calibration


def test_a_file_of_this_checkout_is_named_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RUN | {"file": str(tmp_path / "ablations" / "alpha.py"), "seeds": [0], "whole_seeds": 1}
    assert "--file ablations/alpha.py " in run_again(run, Path("results"))
    assert "--seeds 2 " in run_again({**RUN, "seeds": [0, 1]}, Path("results"))  # as older results recorded it
    assert "--file /elsewhere/alpha.py " in run_again(run | {"file": "/elsewhere/alpha.py"}, Path("results"))
    assert "--file" not in run_again(run | {"file": ""}, Path("results"))  # of a notebook


def test_every_setting_of_a_grid_is_told_again():
    told = {"seed", "seeds", "claimed_seeds", "results"}  # by other names, or by the caller
    assert {field.name for field in fields(GridSettings)} - told <= set(RECORDED)
