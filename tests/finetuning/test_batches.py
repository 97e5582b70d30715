from itertools import chain

import numpy as np
import pytest

from atv.finetuning.batches import Remaining, draw, shuffled


def test_the_first_samples_are_those_that_calibration_draws():
    chosen, held_out = draw(100, 60, 20, seed=3)
    assert chosen == np.random.default_rng(3).permutation(100)[:60].tolist()
    assert len(held_out) == 20 and not set(chosen) & set(held_out)
    with pytest.raises(ValueError, match=r"samples: expected 1 to 100 .* got 90 and 20 for validation"):
        draw(100, 90, 20, seed=3)
    with pytest.raises(ValueError, match="samples: expected 1 to 0"):
        draw(0, 1, 0, seed=0)


def test_an_epoch_shows_each_sample_once_in_an_order_of_its_own():
    plan = shuffled(range(10), epochs=3, batch_size=2, multiple=2, seed=0)
    assert len(plan) == 12
    epochs = [list(chain(*plan[start : start + 4])) for start in (0, 4, 8)]
    assert all(len(set(epoch)) == 8 for epoch in epochs) and epochs[0] != epochs[1]
    assert plan == shuffled(range(10), epochs=3, batch_size=2, multiple=2, seed=0)
    with pytest.raises(ValueError, match="3 do not fill one step of 4"):
        shuffled(range(3), epochs=1, batch_size=2, multiple=2, seed=0)


@pytest.mark.parametrize("done", [0, 2])
def test_ranks_share_what_remains(done):
    shares = [list(Remaining(12, rank, 3, lambda: done)) for rank in range(3)]
    assert sorted(chain(*shares)) == list(range(3 * done, 12))
    assert all(len(Remaining(12, rank, 3, lambda: done)) == 4 for rank in range(3))
