import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import atv
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


@given(SCORES, st.integers(0, 99))
def test_unstructured_is_a_stable_sort_of_every_row(scores, percent):
    mask = atv.Unstructured().mask(torch.from_numpy(scores), percent / 100)
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
    with pytest.raises(ValueError, match=r"'NOfM' cannot be named alone: .*'n'"):
        parse_pattern("NOfM")
