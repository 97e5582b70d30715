from itertools import chain

import pytest

from atv.runtime.remaining import Remaining


@pytest.mark.parametrize("done", [0, 2])
def test_ranks_share_what_remains(done):
    shares = [list(Remaining(12, rank, 3, lambda: done)) for rank in range(3)]
    assert sorted(chain(*shares)) == list(range(3 * done, 12))
    assert all(len(Remaining(12, rank, 3, lambda: done)) == 4 for rank in range(3))
