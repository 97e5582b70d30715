"""What takes the scales of channels, found by trying."""

import copy

import pytest
import torch
from helpers.tiny import llava_around, make_batch, random_llava

from atv.calibration.calibration_set import numbered_batches
from atv.model.lvlm import LVLM
from atv.quantization import AWQ
from atv.quantization.blockwise import QuantizationPlan, quantize_blocks
from atv.quantization.feeding import feeds
from atv.quantization.quantization_run import linears_of
from atv.quantization.whole_numbers import grids
from atv.runtime.trainer import quiet_trainer
from atv.selection import AllTokens

PREFIX = "model.language_model.layers.0."


def test_awq_finds_what_takes_its_scales_and_moves_them_there(llava):
    lvlm, batch = LVLM.of(llava), make_batch([5, 8], 1)
    linears = linears_of(lvlm, None)
    with torch.no_grad():
        before = llava(**batch).logits
    found = feeds(lvlm, linears, batch)
    named = {feed.feeder.removeprefix(PREFIX): [one.removeprefix(PREFIX) for one in feed.readers] for feed in found[0]}
    assert named == {
        "input_layernorm": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "self_attn.v_proj": ["self_attn.o_proj"],
        "post_attention_layernorm": ["mlp.gate_proj", "mlp.up_proj"],
        "mlp.up_proj": ["mlp.down_proj"],
    }
    with torch.no_grad():
        assert torch.equal(llava(**batch).logits, before)
        for feed in found[1]:
            feed.scale(llava, torch.rand(linears[feed.readers[0]].in_features) + 0.5)
        assert torch.allclose(llava(**batch).logits, before, atol=1e-4)


def test_small_numbers_of_float16_hide_nothing_that_takes_scales():
    text = copy.deepcopy(random_llava().config.text_config)
    text.hidden_size, text.intermediate_size, text.initializer_range = 128, 256, 0.02
    model = llava_around(text).half()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lvlm, batch = LVLM.of(model), make_batch([9, 12], 0)
    batch["pixel_values"] = batch["pixel_values"].half()
    assert [len(block) for block in feeds(lvlm, linears_of(lvlm, None), batch)] == [4, 4, 4]
    after = model.state_dict()
    assert all(after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items())


def test_a_norm_that_something_else_reads_takes_no_scales(llava, batches):
    """As where a router, or a Linear that is not rounded, reads it too."""
    lvlm = LVLM.of(llava)
    linears = lvlm.targets(["q_proj", "k_proj", "gate_proj"])
    assert not any(feeds(lvlm, linears, batches[0]))
    plan = QuantizationPlan(linears, {}, grids(linears, 4, 16), AWQ(), AllTokens())
    with pytest.raises(ValueError, match="nothing in LlavaForConditionalGeneration can take the scales of AWQ"):
        quantize_blocks(lvlm, plan, numbered_batches(lvlm, batches), quiet_trainer(enable_progress_bar=False))
