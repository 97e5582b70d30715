import copy

import pytest
import torch
from conformance.table import AROUND, around, build, usual_samples
from helpers.tiny import make_batch, random_llava, singles
from transformers import AttentionInterface

import atv
from atv.calibration.attention_and_outputs import AttentionCall


class Sees(atv.TextOnly):
    """Keeps the attention that it was shown, by block and sample."""

    needs_attention = True

    def __init__(self):
        self.seen = {}

    def select(self, tokens):
        self.seen[tokens.block, tokens.sample] = tokens.attention
        return super().select(tokens)


def random_grouped_llava():
    """The tests' LLaVA with two key heads for four query heads."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig.from_dict(random_llava().config.to_dict())
    config.text_config.num_key_value_heads = 2
    torch.manual_seed(1)
    return LlavaForConditionalGeneration(config).eval()


# flex_attention compiles its kernels first, which takes a C++ compiler and about a minute.
FLEX = pytest.param("flex_attention", marks=pytest.mark.slow)


@pytest.mark.parametrize("implementation", ["eager", "sdpa", FLEX])
@pytest.mark.parametrize("build", [random_llava, random_grouped_llava])
@torch.no_grad()
def test_is_the_last_row_of_the_full_maps(build, implementation, batches):
    model, rule = build(), Sees()
    model.set_attn_implementation("eager")
    maps = [model(**one, output_attentions=True).attentions for one in singles(batches)]
    model.set_attn_implementation({"text_config": implementation})
    atv.prune(model, batches, selection=rule, propagate=False)
    for sample, by_block in enumerate(maps):
        for block, full in enumerate(by_block):
            assert torch.allclose(rule.seen[block, sample], full[0, :, -1].mean(0), atol=1e-5)
            assert rule.seen[block, sample].sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("selection", ["AttentionTopK", "AMIA"])
def test_a_row_of_padding_alone_changes_nothing(selection):
    alone, padded = make_batch([5], 1), make_batch([5, 5], 1)
    padded["attention_mask"][1] = 0
    padded["pixel_values"][0] = alone["pixel_values"][0]
    one, other = (atv.prune(random_llava(), [batch], selection=selection) for batch in (alone, padded))
    assert [block.selected for block in one.blocks] == [block.selected for block in other.blocks]
    assert all(torch.equal(mask, other.masks[name]) for name, mask in one.masks.items())


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@pytest.mark.parametrize(
    "kind", ["gemma3", "inkling_mm_model", "internvl", "llama4", "llava_next", "mistral3", "qwen2_5_vl", "smolvlm"]
)
@torch.no_grad()
def test_is_the_last_row_of_other_types_maps(kind):
    model, batches, rule, sample = build(kind), usual_samples(kind).batches(), Sees(), 0
    atv.prune(copy.deepcopy(model), batches, selection=rule, propagate=False)
    model.set_attn_implementation("eager")
    for batch in batches:
        maps = model(**batch, output_attentions=True, use_cache=False).attentions
        for row, valid in enumerate(batch["attention_mask"].bool()):
            for block, full in enumerate(maps):
                expected = full[row, :, valid.nonzero()[-1].item()].mean(0)[valid]
                assert torch.allclose(rule.seen[block, sample], expected, atol=1e-5)
            sample += 1


@pytest.mark.filterwarnings("ignore:block .* fewer than")
@torch.no_grad()
def test_what_sinks_take_is_no_tokens():
    model, batches, rule = around("gpt_oss", num_local_experts=2, num_experts_per_tok=1), AROUND.batches(), Sees()
    atv.prune(copy.deepcopy(model), batches, selection=rule, propagate=False)
    full = model(**batches[1], output_attentions=True, use_cache=False).attentions
    for block, by_head in enumerate(full):
        assert torch.allclose(rule.seen[block, 2], by_head[0, :, -1].mean(0), atol=1e-5)
        assert rule.seen[block, 2].sum() < 0.999


@pytest.mark.parametrize(
    ("kind", "block"), [("lfm2_vl", "0 of Lfm2Vl"), ("mllama", "1 of Mllama"), ("qwen3_5", "0 of Qwen3_5")]
)
def test_blocks_without_self_attention_are_refused_by_name(kind, block):
    with pytest.raises(ValueError, match=f"block {block}.* has no self-attention"):
        atv.prune(build(kind), usual_samples(kind).batches(), selection="AttentionTopK")


def test_soft_caps_windows_and_masks_count():
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 7, 4, generator=generator) for heads in (4, 2))
    valid = torch.tensor([True] * 6 + [False])
    logits = torch.stack([query[1, h, 5] @ key[1, h // 2].T for h in range(4)]) * 0.3
    capped = 2 * torch.tanh(logits / 2)
    capped[:, [0, 1, 6]] = -torch.inf  # a window of four sees 2 to 5; 6 is padding
    call = AttentionCall(query, key, None, 0.3, {"softcap": 2, "sliding_window": 4})
    assert torch.allclose(call.last_query(1, valid), capped.softmax(1).mean(0), atol=1e-6)
    mask = torch.zeros(1, 1, 7, 7)
    mask[..., 3] = torch.finfo(torch.float32).min
    seen = AttentionCall(query, key, mask, 0.3).last_query(1, valid)
    logits[:, [3, 6]] = -torch.inf
    assert torch.allclose(seen, logits.softmax(1).mean(0), atol=1e-6)


def test_the_interface_is_left_as_it_was(llava, batches):
    before = AttentionInterface.get_interface
    atv.prune(llava, batches, selection="AttentionTopK")
    assert AttentionInterface.get_interface is before


def test_nothing_is_recorded_for_other_rules(llava, batches):
    class Asks(atv.TokenSelection):
        def select(self, tokens):
            return tokens.attention > 0

    with pytest.raises(ValueError, match="must set needs_attention = True"):
        atv.prune(llava, batches, selection=Asks())


def test_attention_that_cannot_be_seen_is_refused_by_name(llava, batches):
    llava.model.language_model.layers[1].self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    message = "AttentionTopK needs the last query's attention, but block 1 of LlavaForConditionalGeneration"
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, batches, selection="AttentionTopK")


def test_the_most_attended_enter(llava):
    class Checks(atv.AttentionTopK):
        def candidates(self, tokens):
            ranked = sorted(range(1, 10), key=lambda i: (-tokens.attention[i].item(), i))
            assert super().candidates(tokens).tolist() == ranked[:5]
            return super().candidates(tokens)

    report = atv.prune(llava, [make_batch([5], 1)], selection=Checks(share=1.0))
    assert report.blocks[0].selected["both"] == {"text": 5, "visual": 5}
