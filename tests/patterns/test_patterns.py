import numpy as np
import pytest
import torch
from conformance.families.pictures import CLIP
from conformance.layout import IMAGE
from conformance.sizes import text
from helpers.tiny import random_llava
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

import atv
from atv.model.lvlm import LVLM
from atv.patterns import parse_pattern

SCORES = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 5).map(lambda g: 8 * g)),
    elements=st.integers(0, 3).map(float),
)


def kept(scores, count):
    """The oracle: a stable sort of each row, the lowest ``count`` go."""
    mask = np.ones_like(scores, dtype=bool)
    for row in range(len(scores)):
        mask[row, np.argsort(scores[row], kind="stable")[:count]] = False
    return mask


def test_a_pattern_that_lacks_a_property_is_refused_with_its_name():
    class NoSparsity(atv.Pattern):
        def mask(self, score, sparsity):
            return score > 0

    with pytest.raises(ValueError, match=r"pattern: NoSparsity cannot be used: it does not define sparsity$"):
        parse_pattern("NoSparsity")


@given(SCORES, st.integers(0, 99), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_unstructured_is_a_stable_sort_of_every_row(scores, percent, dtype):
    mask = atv.Unstructured().mask(torch.from_numpy(scores).to(dtype), percent / 100)
    assert np.array_equal(mask.numpy(), kept(scores, scores.shape[1] * percent // 100))


@given(st.data(), st.integers(2, 20))
def test_n_of_m_is_a_stable_sort_of_every_group(data, m):
    n = data.draw(st.integers(1, m - 1), label="n")
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 3).map(lambda groups: groups * m)), label="shape")
    scores = data.draw(arrays(np.float32, shape, elements=st.integers(0, 3).map(float)), label="scores")
    mask = parse_pattern(f"{n}:{m}").mask(torch.from_numpy(scores), 1 - n / m)
    groups = kept(scores.reshape(-1, m), m - n).reshape(scores.shape)
    assert np.array_equal(mask.numpy(), groups)
    assert (mask.view(-1, m).sum(1) == n).all()


@given(SCORES, st.integers(0, 99), st.integers(0, 99))
def test_what_is_pruned_stays_pruned_at_a_higher_sparsity(scores, one, other):
    low, high = (atv.Unstructured().mask(torch.from_numpy(scores), p / 100) for p in sorted([one, other]))
    assert not (high & ~low).any()


@given(SCORES, st.sampled_from(["unstructured", "2:4", "4:8"]), st.integers(-20, 20))
def test_masks_do_not_depend_on_the_scale_of_scores_or_on_other_rows(scores, text, exponent):
    pattern, scores = parse_pattern(text), torch.from_numpy(scores)
    mask = pattern.mask(scores, 0.5)
    assert torch.equal(pattern.mask(scores * 2.0**exponent, 0.5), mask)
    assert torch.equal(pattern.mask(scores[:1], 0.5), mask[:1])


def test_counts_are_exact_in_decimal():
    assert (~atv.Unstructured().mask(torch.rand(3, 100), 0.29)).sum(1).tolist() == [29, 29, 29]


@pytest.mark.parametrize(("text", "sparsity"), [("4:5", 0.2), ("9:10", 0.1), ("2:4", 0.5)])
def test_a_pattern_has_the_sparsity_that_one_writes(text, sparsity):
    atv.Pathway("AllTokens", sparsity=sparsity, pattern=text).parts()
    assert parse_pattern(text).sparsity == sparsity


@pytest.mark.parametrize("text", ["2-4", "", "a:b", "0:4", "4:4"])
def test_bad_patterns_are_refused(text):
    with pytest.raises(ValueError, match="pattern"):
        parse_pattern(text)


def flat_kept(scores, count):
    order = np.argsort(np.concatenate([score.flatten() for score in scores]), kind="stable")[:count]
    mask = np.ones(sum(score.size for score in scores), dtype=bool)
    mask[order] = False
    return np.split(mask, np.cumsum([score.size for score in scores])[:-1])


@given(SCORES, st.integers(0, 99))
def test_per_layer_is_a_stable_sort_of_the_whole_weight(scores, percent):
    mask = atv.PerLayer().mask(torch.from_numpy(scores), percent / 100)
    assert np.array_equal(mask.numpy().flatten(), flat_kept([scores], scores.size * percent // 100)[0])


@given(SCORES, SCORES, st.integers(0, 99), st.integers(0, 99))
def test_per_block_is_a_stable_sort_of_all_linears_together(one, two, percent, other):
    count = one.size * percent // 100 + two.size * other // 100
    given_scores = {"one": torch.from_numpy(one), "two": torch.from_numpy(two)}
    masks = atv.PerBlock().masks(given_scores, {"one": percent / 100, "two": other / 100})
    for name, expected in zip(("one", "two"), flat_kept([one, two], count), strict=True):
        assert np.array_equal(masks[name].numpy().flatten(), expected)


@given(SCORES, st.integers(0, 99), st.integers(1, 16), st.sampled_from([atv.Unstructured(), atv.PerLayer()]))
def test_columns_decided_one_slice_after_another_lose_as_many_as_at_once(scores, percent, width, pattern):
    score = torch.from_numpy(scores)
    parts = [
        pattern.columns_mask(score[:, start : start + width], percent / 100, start)
        for start in range(0, score.shape[1], width)
    ]
    whole = pattern.mask(score, percent / 100)
    axis = 1 if isinstance(pattern, atv.Unstructured) else (0, 1)
    assert np.array_equal(torch.cat(parts, 1).numpy().sum(axis), whole.numpy().sum(axis))


def test_a_pattern_can_be_named_or_given():
    assert isinstance(parse_pattern("PerBlock"), atv.PerBlock)
    pattern = atv.PerLayer()
    assert parse_pattern(pattern) is pattern
    with pytest.raises(ValueError, match=r"'NOfM' cannot be given by name alone: .*'n'"):
        parse_pattern("NOfM")


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
    assert atv.FFNChannels(multiple).kept_count(count, sparsity) == left


def test_fluctuation_is_the_variance_of_a_channel_times_the_squared_weight():
    inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(6) + 5
    mean = inputs.mean(0)
    variance = torch.stack([sum((x - mean) ** 2 for x in inputs) / len(inputs)])[0]
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    pool = atv.PoolStatistics(torch.ones(6), mean=mean.double(), variance=variance.double())
    score = atv.Fluctuation().score(weight, pool)
    assert torch.allclose(score, variance * weight.square(), rtol=1e-5)
