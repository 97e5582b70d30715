import pytest
from helpers.pruned_folders import prune_by_command, quantize_by_command


@pytest.fixture(scope="package")
def pruned(tmp_path_factory, small_pool):
    folder = tmp_path_factory.mktemp("pruned") / "sparse"
    return prune_by_command(folder, small_pool, "--samples", "2", "--selection", "TextOnly")


@pytest.fixture(scope="package")
def quantized(tmp_path_factory, small_pool, pruned):
    return quantize_by_command(pruned, tmp_path_factory.mktemp("quantized") / "int4", small_pool)
