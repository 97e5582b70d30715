"""FFN channels and attention heads: which go, by sums written from the definition."""

import pytest
import torch
from conformance.families.pictures import CLIP
from conformance.layout import IMAGE
from conformance.sizes import text
from helpers.tiny import random_llava
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

import atv
from atv.model.lvlm import LVLM

SHAPES = {"mlp.gate_proj": (48, 32), "mlp.up_proj": (48, 32), "mlp.down_proj": (32, 48)}
HEADS = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32)}
HEADS |= {"self_attn.o_proj": (32, 32)}


@pytest.fixture(scope="module")
def grouped():
    """A LLaVA of two key-value heads, each read by two query heads of width 8."""
    config = CONFIG_MAPPING["llava"](text_config=text("qwen3"), vision_config=CLIP, image_token_index=IMAGE)
    return LVLM.of(AutoModelForImageTextToText.from_config(config))


def drawn(shapes, module="model.language_model.layers.0"):
    generator = torch.Generator().manual_seed(0)
    return {f"{module}.{name}": torch.rand(*shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("scored", ["structure", "reader"])
def test_the_channels_of_the_least_sums_go(scored):
    scores = drawn(SHAPES)
    gate, up, down = scores.values()
    sums = [sum(float(down[row, i]) for row in range(32)) for i in range(48)]
    if scored == "structure":
        sums = [total + sum(float(gate[i, j]) + float(up[i, j]) for j in range(32)) for i, total in enumerate(sums)]
    gone = sorted(range(48), key=lambda i: sums[i])[: 48 - 32]
    pattern = atv.FFNChannels(8, scored).fitted(LVLM.of(random_llava()))
    masks = pattern.masks(scores, dict.fromkeys(scores, 0.3))
    for (name, mask), lines in zip(masks.items(), (0, 0, 1), strict=True):
        expected = torch.ones(scores[name].shape, dtype=torch.bool)
        expected[gone if lines == 0 else (slice(None), gone)] = False
        assert torch.equal(mask, expected), name


def test_a_key_value_head_goes_with_the_query_heads_that_read_it(grouped):
    scores = drawn(HEADS)
    q, k, v, o = scores.values()
    sums = [
        float(q[16 * i : 16 * i + 16].sum() + k[8 * i : 8 * i + 8].sum() + v[8 * i : 8 * i + 8].sum())
        + float(o[:, 16 * i : 16 * i + 16].sum())
        for i in range(2)
    ]
    gone = sums.index(min(sums))
    masks = atv.AttentionHeads().fitted(grouped).masks(scores, dict.fromkeys(scores, 0.5))
    for (name, mask), width in zip(masks.items(), (16, 8, 8, 16), strict=True):
        lines = mask.any(1) if "o_proj" not in name else mask.any(0)
        assert torch.equal(lines, torch.arange(len(lines)) // width != gone), name
        assert mask.sum() == mask.numel() // 2


@pytest.mark.parametrize(
    ("count", "sparsity", "multiple", "left"),
    [
        # 1536 - 460 = 1076 is nearer to 1088 than to 1056; 48 keeps 33, nearer to 32; a tie keeps more.
        (1536, 0.3, 32, 1088),
        (48, 0.3, 1, 34),
        (48, 0.32, 32, 32),
        (48, 0.5, 16, 32),
        (48, 0.99, 32, 32),
        (48, 0.0, 32, 48),
        (40, 0.1, 64, 40),
    ],
)
def test_what_is_left_is_the_nearest_multiple(count, sparsity, multiple, left):
    assert atv.FFNChannels(multiple).left(count, sparsity) == left


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: atv.FFNChannels(0), "multiple: expected 1 or more, got 0"),
        (lambda: atv.AttentionHeads("rows"), "scored: expected 'structure' or 'reader', got 'rows'"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fluctuation_is_the_variance_of_a_channel_times_the_squared_weight():
    inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(6) + 5
    mean = inputs.mean(0)
    variance = torch.stack([sum((x - mean) ** 2 for x in inputs) / len(inputs)])[0]
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    pool = atv.PoolStatistics(torch.ones(6), mean=mean.double(), variance=variance.double())
    score = atv.Fluctuation().score(weight, pool)
    assert torch.allclose(score.sum(0), variance * weight.square().sum(0), rtol=1e-5)
