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
