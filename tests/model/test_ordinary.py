"""Models in memory that are refused before they are calibrated."""

import pytest
import torch
from helpers.tiny import random_llava
from torch import nn

import atv


class WithAdapter(nn.Linear):
    """As peft leaves a Linear that is tuned."""

    def __init__(self, linear):
        super().__init__(linear.in_features, 2, bias=False)
        self.base_layer = linear

    def forward(self, states):
        return self.base_layer(states)


def carrying_an_adapter():
    model = random_llava()
    attention = model.get_decoder().layers[1].self_attn
    attention.q_proj = WithAdapter(attention.q_proj)
    return model


def compiled_block_by_block():
    model = random_llava()
    model.get_decoder().layers[0].compile(backend="eager")
    return model


def wrapped():
    own = nn.Module()
    own.lvlm = random_llava()
    return own


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (carrying_an_adapter, r"model: .*layers\.1\.self_attn\.q_proj carries an adapter \(peft\); merge it first"),
        (compiled_block_by_block, "model: LlavaForConditionalGeneration is compiled"),
        (lambda: torch.compile(random_llava(), backend="eager"), "model: OptimizedModule is compiled"),
        (wrapped, "model: expected a model of transformers, got Module; pass the LVLM inside it"),
        (lambda: random_llava().to("meta"), r"model: .* is on the meta device, without values"),
    ],
)
def test_what_is_no_ordinary_model_is_named(make, message, batches):
    with pytest.raises(ValueError, match=message):
        atv.prune(make(), batches)


def test_what_would_be_saved_without_its_weights_is_not_saved(llava, batches, tmp_path):
    report = atv.prune(llava, batches)
    attention = llava.get_decoder().layers[0].self_attn
    attention.k_proj = WithAdapter(attention.k_proj)
    with pytest.raises(ValueError, match=r"k_proj carries an adapter"):
        atv.save(tmp_path / "out", llava, None, report)


def test_decoupled_pathways_are_not_pruned_again(llava, batches):
    pathways = {"text": atv.Pathway("TextOnly"), "visual": atv.Pathway("AllTokens")}
    atv.decouple(llava, batches, **pathways, targets="*q_proj")
    message = r"model: the pathways of .*q_proj are already decoupled and pruned; load the model again"
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, batches)
    with pytest.raises(ValueError, match=message):
        atv.decouple(llava, batches, **pathways)
