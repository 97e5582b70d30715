from itertools import chain

import pytest

from atv.finetuning.batches import batched, shuffled


def test_an_epoch_shows_each_sample_once_in_an_order_of_its_own():
    plan = shuffled([True] * 10, epochs=3, batch_size=2, multiple=2, seed=0)
    assert len(plan) == 12
    epochs = [list(chain(*plan[start : start + 4])) for start in (0, 4, 8)]
    assert all(len(set(epoch)) == 8 for epoch in epochs) and epochs[0] != epochs[1]
    assert plan == shuffled([True] * 10, epochs=3, batch_size=2, multiple=2, seed=0)
    with pytest.raises(ValueError, match="3 do not fill one step of 4"):
        shuffled([True] * 3, epochs=1, batch_size=2, multiple=2, seed=0)


def test_a_batch_has_pictures_in_all_samples_or_in_none():
    pictured = [True, False, True, True, False, False, False]
    assert batched(range(7), pictured, 2) == ([[0, 2], [1, 4], [5, 6]], [[3]])
