import pytest
from helpers.any_results import shipped


@pytest.fixture(scope="session")
def kinds():
    """The classes of all shipped ablations, by the names of their files."""
    return shipped()
