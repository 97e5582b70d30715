import pytest
from helpers.pruned_folders import quantize_by_command


@pytest.fixture(scope="package")
def quantized(tmp_path_factory, small_pool, pruned):
    return quantize_by_command(pruned, tmp_path_factory.mktemp("quantized") / "int4", small_pool)
