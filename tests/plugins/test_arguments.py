from pathlib import Path

import pytest
import torch

import atv
from atv.plugins import ContractError, arguments, describe


class Keeps(atv.TokenSelection):
    """Keeps its arguments, and other things too."""

    def __init__(self, share: float, names=("a",), folder=Path("data"), other=None) -> None:
        self.share, self.names, self.folder, self.other = share, names, folder, other
        self.seen, self._count = torch.zeros(3), 0

    def select(self, tokens):
        return tokens.text


def test_arguments_are_the_constructors_and_nothing_else_that_is_kept():
    assert list(arguments(Keeps(0.5))) == ["share", "names", "folder", "other"]
    assert arguments(atv.TextOnly()) == {} and arguments(atv.RandomVisual())["alpha"] == 1.0


def test_a_plug_in_is_described_as_json_holds_it():
    inner = {"class": "DLP", "spread": 0.1}
    made = {"class": "Keeps", "share": 0.5, "names": ["a"], "folder": "data", "other": {"b": [inner]}}
    assert describe(Keeps(0.5, other={"b": [atv.DLP(0.1)]})) == made
    assert describe(atv.DLP(), dotted=True)["class"] == "atv.allocation.outliers.DLP"


def test_an_argument_that_is_not_kept_is_named():
    class Forgets(Keeps):
        def __init__(self, share: float) -> None:
            self._share = share

    with pytest.raises(ContractError, match="Forgets keeps no attribute 'share' for its constructor's argument"):
        arguments(Forgets(0.5))


def test_arguments_without_names_are_refused():
    class Anything(Keeps):
        def __init__(self, **options) -> None:
            super().__init__(**options)

    with pytest.raises(ContractError, match=r"Anything takes \*\*options; name every argument"):
        arguments(Anything(share=0.5))


@pytest.mark.parametrize("value", [torch.zeros(2), {"a": object()}, [len]])
def test_an_argument_that_no_report_can_hold_is_named(value):
    with pytest.raises(ContractError, match=r"Keeps was given a \w+ as other, which no report can hold; choices: "):
        describe(Keeps(0.5, other=value))
