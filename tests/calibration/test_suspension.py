import weakref

import pytest
import torch

import atv
from atv.calibration.suspension import SuspendedForward, doors
from atv.model.hooks import token_states
from atv.model.lvlm import LVLM


@torch.no_grad()
def test_waiting_forwards_see_what_plain_forwards_see(llava, batches):
    lvlm = LVLM.of(llava)
    plain = [llava(**batch, output_hidden_states=True, use_cache=False).hidden_states for batch in batches]
    with doors(lvlm, lvlm.linears, propagate=True):
        forwards = [SuspendedForward(llava, batch) for batch in batches]
        for block in range(3):
            for forward, states in zip(forwards, plain, strict=True):
                arrival = forward.advance(block)
                assert arrival.block == block
                assert torch.equal(arrival.input, states[block])
        for forward in forwards:
            forward.close()


@torch.no_grad()
def test_linears_that_read_one_tensor_share_a_site(llava, batches):
    lvlm = LVLM.of(llava)
    with doors(lvlm, lvlm.linears, propagate=True):
        forward = SuspendedForward(llava, batches[0])
        arrival = forward.advance(0)
        forward.close()
    assert len(arrival.target_inputs.sites) == 4 and len(arrival.target_inputs.site_of) == 7
    shared = {name.rsplit(".", 1)[-1]: site.rsplit(".", 1)[-1] for name, site in arrival.target_inputs.site_of.items()}
    assert shared["k_proj"] == shared["v_proj"] == "q_proj" and shared["up_proj"] == "gate_proj"


@torch.no_grad()
def test_a_waiting_forward_holds_nothing_that_was_observed(llava, batches):
    lvlm = LVLM.of(llava)
    with doors(lvlm, lvlm.linears, propagate=True):
        forward = SuspendedForward(llava, batches[0])
        arrival = forward.advance(0)
        held = [weakref.ref(tensor) for tensor in (*arrival.target_inputs.sites.values(), arrival.output)]
        assert len(held) == 5 and all(ref() is not None for ref in held)
        del arrival
        assert all(ref() is None for ref in held)
        forward.close()


def test_an_error_in_a_forward_surfaces_and_leaves_the_model_clean(llava, batches):
    batches[1]["pixel_values"] = torch.zeros(5, 3, 12, 12)
    with pytest.raises(ValueError, match="Image features and image tokens do not match"):
        atv.prune(llava, batches)
    assert not any("forward" in block.__dict__ for block in llava.get_decoder().layers)
    assert not any(module._forward_pre_hooks for module in llava.modules())


def test_each_block_runs_twice_but_the_last_once_and_the_first_of_a_kind_once_more(llava, batches):
    runs = [0, 0, 0]
    for index, block in enumerate(llava.get_decoder().layers):
        block.input_layernorm.register_forward_hook(lambda *_, i=index: runs.__setitem__(i, runs[i] + 1))
    atv.prune(llava, batches)
    assert runs == [7, 6, 3]


def test_a_block_that_cannot_be_run_again_is_refused_by_name(llava, batches):
    block, plain = llava.get_decoder().layers[0], llava.get_decoder().layers[0].forward
    runs = []

    def drifting(hidden_states, **kwargs):
        runs.append(None)
        return len(runs) * plain(hidden_states, **kwargs)

    block.forward = drifting
    with pytest.raises(ValueError, match="block LlamaDecoderLayer 0 returns a different output when it is run again"):
        atv.prune(llava, batches)


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
