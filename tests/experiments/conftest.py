import pytest

from atv.cli import parser


@pytest.fixture(scope="module")
def parse():
    top = parser("prune")

    def parsed(file):
        return top.instantiate(top.parse_args(["prune", "--config", str(file), "--output", "out"])).prune.as_dict()

    return parsed
