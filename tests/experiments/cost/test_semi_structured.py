import pytest
import torch

from atv.bundled import BUNDLED_MODEL
from experiments.cost.semi_structured import NO_GPU, bench, measure, supported, target_shapes


def test_the_shapes_are_those_of_the_targets():
    assert target_shapes(BUNDLED_MODEL) == [(192, 192), (192, 512), (512, 192)]


def test_rows_compare_compressed_with_dense_products():
    compressed = []

    def compress(weight):
        compressed.append(weight)
        return weight.clone()

    rows = measure([(32, 64)], [4, 8], 3, torch.device("cpu"), torch.float32, compress)
    assert [row.name for row in rows] == ["32 x 64, 4 tokens", "32 x 64, 8 tokens"]
    assert all(len(row.ratios) == len(row.seconds) == 3 and min(row.seconds) > 0 for row in rows)
    assert all((weight.unflatten(1, (-1, 4)) != 0).sum(-1).eq(2).all() for weight in compressed)


@pytest.mark.skipif(supported(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    bench("bundled")
    assert capsys.readouterr().out.strip() == NO_GPU


@pytest.mark.skipif(not supported(), reason=NO_GPU)
def test_a_compressed_weight_gives_the_dense_product():
    from torch.sparse import to_sparse_semi_structured

    dense = torch.tensor([0.0, 1, 2, 0]).repeat(128, 32).to("cuda", torch.bfloat16)
    x = torch.randn(16, 128, device="cuda", dtype=torch.bfloat16)
    product = torch.nn.functional.linear(x, to_sparse_semi_structured(dense))
    torch.testing.assert_close(product, x @ dense.T, rtol=1e-2, atol=1e-1)
