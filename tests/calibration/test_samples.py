import pytest
import torch

from atv.calibration.recording import Recording
from atv.calibration.samples import samples
from atv.calibration.suspension import Arrival

VALID = torch.tensor([[True, True, True, True], [False, False, True, True]])
VISUAL = torch.tensor([[False, True, True, False], [False, False, True, False]])


def taken_apart(before, after):
    noted = Recording({"site": before}, site_of={"linear": "site"})
    return list(samples(Arrival(5, before, after, noted), VISUAL, VALID, first_sample=7, seed=0))


def test_padding_is_left_behind_and_other_rows_are_read_where_they_lie():
    hidden = torch.arange(2 * 4 * 3).view(2, 4, 3).float()
    whole, padded = taken_apart(hidden, hidden)
    assert torch.equal(whole.tokens.input, hidden[0]) and torch.equal(padded.tokens.input, hidden[1, 2:])
    assert whole.tokens.input.data_ptr() == hidden.data_ptr()
    assert (whole.tokens.sample, padded.tokens.sample) == (7, 8)
    assert padded.tokens.visual.tolist() == [True, False] and padded.tokens.position.tolist() == [0, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_not_finite_are_named(bad, dtype):
    good = torch.ones(2, 4, 3, dtype=dtype)
    for place, what in ((0, "input"), (1, "output")):
        pair = [good, good.clone()]
        pair[place] = good.clone()
        pair[place][1, 3, 0] = bad
        with pytest.raises(ValueError, match=f"the {what} of block 5, sample 8 holds NaN or infinite"):
            taken_apart(*pair)


def test_padding_may_hold_anything():
    hidden = torch.ones(2, 4, 3)
    hidden[1, 0] = float("nan")
    assert len(taken_apart(hidden, hidden)) == 2


def test_large_values_whose_sum_overflows_are_finite():
    large = torch.full((2, 4, 3), 3e38)
    assert len(taken_apart(large, large)) == 2
