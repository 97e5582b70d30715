from pathlib import Path

import pytest

from atv.cli import parser
from atv.selection import TokenSelection

FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml"))


def test_there_are_experiments():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_parses_and_instantiates(file):
    top = parser()
    chosen = top.instantiate(top.parse_args(["prune", "--config", str(file), "--output", "out"]))
    assert isinstance(chosen.prune.selection, TokenSelection)
