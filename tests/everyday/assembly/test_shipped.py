"""The updates that ship: small, of this version's model, and what makes its one digest."""

from atv.everyday.assembly.__main__ import UPDATES
from atv.everyday.assembly.made_folder import DIGEST
from atv.everyday.assembly.trained_updates import read_updates


def test_they_make_the_model_of_this_version():
    updates = read_updates(UPDATES)
    assert updates.merged == DIGEST
    assert set(updates.base) == {"language", "vision"} and updates.recipe["command"]


def test_they_are_small_and_finite():
    assert UPDATES.stat().st_size < 25e6
    updates = read_updates(UPDATES)
    assert all(part.isfinite().all() for factors in updates.factors.values() for part in vars(factors).values())
    assert all(value.isfinite().all() for value in updates.whole.values())
