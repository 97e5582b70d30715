from pathlib import Path

import pytest
import torch

import atv
from atv.data import CalibrationData
from atv.plugins import ContractError, arguments, describe, find, load_file, resolve
from atv.plugins.finding import subclasses
from atv.refinement import Reconstruction, Refinement


def test_two_classes_of_one_name_need_a_path(tmp_path):
    for module in ("one", "two"):
        (tmp_path / f"{module}.py").write_text(
            "import atv\n\n\nclass Twin(atv.Criterion):\n    def score(self, weight, pool):\n        return weight\n"
        )
        load_file(tmp_path / f"{module}.py")
    with pytest.raises(ValueError, match=r"names several classes; .*: atv_plugin_one\.Twin, atv_plugin_two"):
        find("Twin", atv.Criterion, "criterion")
    assert find("atv_plugin_two.Twin", atv.Criterion, "criterion").__module__ == "atv_plugin_two"


def test_every_shipped_class_is_found_by_its_name():
    steps = (Refinement, Reconstruction)
    kinds = (atv.TokenSelection, atv.Criterion, atv.Pattern, atv.Allocation, *steps, CalibrationData)
    for base in kinds:
        shipped = [kind for kind in subclasses(base) if kind.__module__.startswith("atv.")]
        assert len(shipped) > 1 and all(find(kind.__name__, base, "option") is kind for kind in shipped)


def test_hidden_and_abstract_classes_are_no_choices():
    with pytest.raises(ValueError, match="unknown TokenSelection '_Hidden'") as caught:
        find("_Hidden", atv.TokenSelection, "selection")
    assert "VisualRanking" not in str(caught.value)


@pytest.mark.parametrize("name", ["VisualRanking", "atv.selection.ranking.VisualRanking"])
def test_a_class_that_lacks_a_method_is_refused_with_its_name(name):
    with pytest.raises(ValueError, match=r"selection: VisualRanking cannot be used: it does not define rank$"):
        find(name, atv.TokenSelection, "selection")


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match="criterion: expected a Criterion, a class name or a dotted path, got 3"):
        resolve(3, atv.Criterion, "criterion")
    with pytest.raises(ValueError, match=r"'pathlib\.Path' is not a Criterion"):
        find("pathlib.Path", atv.Criterion, "criterion")


FILES = {
    "no Python": ("rule.txt", "x = 1\n", "is not a Python file"),
    "no syntax": ("one.py", "x = 1\ndef f(:\n", r"one.py' cannot be imported \(line 2\): SyntaxError"),
    "an unknown name": ("two.py", "import atv\n\nnothing\n", r"two.py' cannot be imported \(line 3\): NameError"),
    "a script": ("three.py", "import sys\nsys.exit(0)\n", r"three.py' cannot be imported \(line 2\): SystemExit"),
    "another encoding": ("four.py", b"x = '\xff'\n", r"four.py' cannot be imported.*: SyntaxError"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_cannot_be_imported_are_named_with_the_line(case, tmp_path):
    name, content, message = FILES[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"^plugin: .*{message}"):
        load_file(tmp_path / name)


def test_the_line_is_told_of_a_path_from_here_too(tmp_path, monkeypatch):
    (tmp_path / "wrong_rule.py").write_text("\nnothing\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^file: 'wrong_rule.py' cannot be imported \(line 2\): NameError"):
        load_file("wrong_rule.py", "file")


@pytest.mark.parametrize("path", ["..Foo", "math.", "atv.nothing.Foo"])
def test_paths_that_lead_nowhere_are_named(path):
    with pytest.raises(ValueError, match=f"^selection: cannot import '{path}'"):
        find(path, atv.TokenSelection, "selection")


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

    with pytest.raises(ContractError, match="Forgets has no attribute 'share' that stores its constructor's argument"):
        arguments(Forgets(0.5))


def test_arguments_without_names_are_refused():
    class Anything(Keeps):
        def __init__(self, **options) -> None:
            super().__init__(**options)

    with pytest.raises(ContractError, match=r"Anything takes \*\*options; name every argument"):
        arguments(Anything(share=0.5))


@pytest.mark.parametrize("value", [torch.zeros(2), {"a": object()}, [len]])
def test_an_argument_that_no_report_can_hold_is_named(value):
    with pytest.raises(ContractError, match=r"Keeps was given a \w+ as other, which a report cannot hold; choices: "):
        describe(Keeps(0.5, other=value))
