import pytest
from helpers.benchmark_data import write_benchmarks


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with small copies of the nine data sets."""
    return write_benchmarks(tmp_path_factory.mktemp("benchmarks"))
