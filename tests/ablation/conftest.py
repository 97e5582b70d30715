from pathlib import Path

import pytest

from atv import plugins
from atv.ablation.base import Ablation


@pytest.fixture(scope="session")
def kinds():
    """The classes of all shipped ablations, by the names of their files."""
    found = {}
    for file in sorted((Path(__file__).parents[2] / "ablations").glob("*.py")):
        before = set(plugins.subclasses(Ablation))
        plugins.load_file(file)
        (found[file.stem],) = set(plugins.subclasses(Ablation)) - before
    return found
