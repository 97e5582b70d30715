import torch

import atv


def test_scores():
    weight = torch.tensor([[1.0, -2.0], [-3.0, 4.0]], dtype=torch.bfloat16)
    pool = atv.PoolStatistics(torch.tensor([10.0, 0.5]))
    assert atv.Magnitude().score(weight, pool).tolist() == [[1, 2], [3, 4]]
    assert atv.Wanda().score(weight, pool).tolist() == [[10, 1], [30, 2]]
    assert atv.Wanda().score(weight, pool).dtype == torch.float32
