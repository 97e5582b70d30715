import numpy as np
import pytest
import torch

import atv


def test_scores():
    weight = torch.tensor([[1.0, -2.0], [-3.0, 4.0]], dtype=torch.bfloat16)
    pool = atv.PoolStatistics(torch.tensor([10.0, 0.5]))
    assert atv.Magnitude().score(weight, pool).tolist() == [[1, 2], [3, 4]]
    assert atv.Wanda().score(weight, pool).tolist() == [[10, 1], [30, 2]]
    assert atv.Wanda().score(weight, pool).dtype == torch.float32


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_follows_the_formula(power):
    rng = np.random.default_rng(0)
    weight, norm = rng.normal(size=(5, 7)), rng.random(7)
    weight[2], weight[:, 3] = 0, 0
    size = np.abs(weight)
    expected = np.zeros_like(size)
    for i, j in np.argwhere(size > 0):
        expected[i, j] = (size[i, j] / size[i].sum() + size[i, j] / size[:, j].sum()) * norm[j] ** power
    pool = atv.PoolStatistics(torch.tensor(norm, dtype=torch.float32))
    score = atv.RIA(power).score(torch.tensor(weight, dtype=torch.float32), pool)
    assert np.allclose(score.numpy(), expected, rtol=1e-5)


def test_the_scale_of_the_whole_weight_does_not_matter():
    weight, pool = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), atv.PoolStatistics(torch.ones(6))
    assert torch.allclose(atv.RIA().score(weight, pool), atv.RIA().score(8 * weight, pool))
