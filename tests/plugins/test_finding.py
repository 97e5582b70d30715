import pytest

import atv
from atv.plugins import find, load_file, resolve


def test_two_classes_of_one_name_need_a_path(tmp_path):
    for module in ("one", "two"):
        (tmp_path / f"{module}.py").write_text(
            "import atv\n\n\nclass Twin(atv.Criterion):\n    def score(self, weight, pool):\n        return weight\n"
        )
        load_file(tmp_path / f"{module}.py")
    with pytest.raises(ValueError, match=r"names several classes; .*: atv_plugin_one\.Twin, atv_plugin_two"):
        find("Twin", atv.Criterion, "criterion")
    assert find("atv_plugin_two.Twin", atv.Criterion, "criterion").__module__ == "atv_plugin_two"


def test_hidden_and_abstract_classes_are_no_choices():
    with pytest.raises(ValueError, match="unknown TokenSelection '_Hidden'") as caught:
        find("_Hidden", atv.TokenSelection, "selection")
    assert "VisualRanking" not in str(caught.value)


@pytest.mark.parametrize("name", ["VisualRanking", "atv.selection.ranking.VisualRanking"])
def test_a_class_that_lacks_a_method_is_refused_with_its_name(name):
    with pytest.raises(ValueError, match=r"selection: VisualRanking cannot be used, it does not define rank$"):
        find(name, atv.TokenSelection, "selection")


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match="criterion: expected a Criterion, a class name or a dotted path, got 3"):
        resolve(3, atv.Criterion, "criterion")
    with pytest.raises(ValueError, match=r"'pathlib\.Path' is not a Criterion"):
        find("pathlib.Path", atv.Criterion, "criterion")


FILES = {
    "no Python": ("rule.txt", "x = 1\n", "is no Python file"),
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


@pytest.mark.parametrize("path", ["..Foo", "math.", "atv.nothing.Foo"])
def test_paths_that_lead_nowhere_are_named(path):
    with pytest.raises(ValueError, match=f"^selection: cannot import '{path}'"):
        find(path, atv.TokenSelection, "selection")
