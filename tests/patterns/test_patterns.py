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


@given(SCORES, st.sampled_from(["2:4", "4:8", "1:4", "3:4", "7:8"]))
def test_n_of_m_is_a_stable_sort_of_every_group(scores, text):
    n, m = map(int, text.split(":"))
    mask = parse_pattern(text).mask(torch.from_numpy(scores), 1 - n / m)
    groups = kept(scores.reshape(-1, m), m - n).reshape(scores.shape)
    assert np.array_equal(mask.numpy(), groups)


def test_counts_are_exact_in_decimal():
    assert (~atv.Unstructured().mask(torch.rand(3, 100), 0.29)).sum(1).tolist() == [29, 29, 29]


@pytest.mark.parametrize("text", ["2-4", "", "a:b", "0:4", "4:4"])
def test_bad_patterns_are_refused(text):
    with pytest.raises(ValueError, match="pattern"):
        parse_pattern(text)
