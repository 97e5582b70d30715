"""Decoders that hand on several residual streams: one vector a token, whichever way the streams lie."""

import pytest
import torch

from atv.calibration.suspension import token_states

SHAPE = torch.Size((2, 5))


def streams():
    """(batch, length, streams, width)"""
    return torch.arange(2 * 5 * 3 * 4.0).view(2, 5, 3, 4)


def test_one_stream_stays_where_it_lies():
    hidden = torch.ones(2, 5, 4)
    assert token_states(hidden, SHAPE, "Block 0") is hidden


def test_both_orders_of_streams_give_the_same_vectors():
    expected = torch.stack([torch.cat([streams()[b, t, s] for s in range(3)]) for b in range(2) for t in range(5)])
    for hidden in (streams(), streams().permute(2, 0, 1, 3)):
        assert torch.equal(token_states(hidden, SHAPE, "Block 0"), expected.view(2, 5, 12))


def test_drift_is_of_all_streams_together_and_never_their_sum():
    from atv.selection import Tokens

    before, after = streams() + 1, streams().flip(-1) + 1
    found = []
    for order in ((0, 1, 2, 3), (2, 0, 1, 3)):
        given, made = (token_states(hidden.permute(order), SHAPE, "b")[0] for hidden in (before, after))
        found.append(Tokens(torch.ones(5, dtype=torch.bool), torch.arange(5), given, made, 0, 0, 0).drift)
    cosine = torch.cosine_similarity(before[0].flatten(1), after[0].flatten(1), dim=-1)
    for drift in found:
        torch.testing.assert_close(drift, 1 - cosine)
        assert drift.shape == (5,) and (drift <= 2).all()


@pytest.mark.parametrize("shape", [(5, 2, 4), (10, 4), (2, 4, 4), (3, 5, 2, 4), (2, 5, 3, 4, 1), (2, 2, 2, 4)])
def test_what_fits_neither_order_is_refused(shape):
    tokens = torch.Size((2, 2)) if shape == (2, 2, 2, 4) else SHAPE
    with pytest.raises(ValueError, match=r"the hidden states of block Block 0 are \(\d.* expected"):
        token_states(torch.zeros(shape), tokens, "Block 0")
