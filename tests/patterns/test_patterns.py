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
