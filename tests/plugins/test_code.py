"""A rule of a file is known by what its code does: it, and what it calls and reads."""

import sys

import pytest

import atv
from atv.plugins import codes, find, load_file, load_files

HELPER = "SCALE = {scale}\n\n\ndef scaled(score):\n    return score * SCALE\n"
RULE = '''
import atv
import code_helper

SIGN = {sign}
UNUSED = {unused}


def signed(score):
    return score * SIGN


class Signed(atv.Criterion):
    """{words}"""

    def score(self, weight, pool):
        return signed(code_helper.scaled(weight.abs())){more}
'''


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """Of the rule as it is written with some changes, its file and its helper's loaded anew."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(**changed):
        given = {"sign": 1, "unused": 1, "words": "One.", "more": "", "scale": 2} | changed
        (tmp_path / "code_helper.py").write_text(HELPER.format(**given))
        (tmp_path / "code_rule.py").write_text(RULE.format(**given))
        sys.modules.pop("code_helper", None)
        load_file(tmp_path / "code_rule.py")
        return codes(["Signed"])

    return written


@pytest.mark.parametrize("changed", [{"sign": -1}, {"scale": 3}, {"more": ".sqrt()"}])
def test_it_follows_the_class_its_functions_and_values_and_modules_beside_it(digest, changed):
    assert digest() == digest() != digest(**changed)


def test_comments_docstrings_and_what_is_not_used_do_not_count(digest):
    assert digest() == digest(words="Two.", unused=2, more="  # Why not?")


def test_modules_beside_it_may_import_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "code_one.py").write_text("import code_two\n\n\ndef one(x):\n    return code_two.two(x)\n")
    (tmp_path / "code_two.py").write_text("import code_one\n\n\ndef two(x):\n    return x or code_one.one(x)\n")
    (tmp_path / "code_round.py").write_text(
        "import atv\nimport code_one\nimport code_two\n\n\nclass Round(atv.TokenSelection):\n"
        "    def select(self, tokens):\n        return code_one.one(code_two.two(tokens.text))\n"
    )
    load_file(tmp_path / "code_round.py")
    assert codes(["Round"]).keys() == {"Round"}


def test_installed_rules_have_their_version_and_nested_ones_count(tmp_path, monkeypatch):
    (tmp_path / "code_nested.py").write_text(
        "import atv\n\n\nclass Every(atv.TokenSelection):\n    def select(self, tokens):\n        return tokens.text\n"
    )
    load_file(tmp_path / "code_nested.py")
    every = find("Every", atv.TokenSelection, "selection")()
    assert codes([atv.DriftTopK(), "Wanda", "2:4", None, [atv.SparseSwaps()]]) == {}
    monkeypatch.setattr(atv.SparseSwaps, "version", 3, raising=False)
    assert codes(["Wanda", [atv.SparseSwaps()]]) == codes(["SparseSwaps"]) == {"SparseSwaps": "version 3"}
    assert [*codes([atv.TextFraction(0.5, every)])] == [*codes([["Wanda", "code_nested.Every"]])] == ["Every"]


def test_a_class_that_was_executed_and_lies_in_no_file(monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__file__", raising=False)

    def of(body):
        space = vars(main)
        exec(f"import atv\nclass Told(atv.Criterion):\n    def score(self, weight, pool):\n        {body}", space)
        return codes([space["Told"]()])

    try:
        assert of("return weight.abs()") == of("return weight.abs()") != of("return -weight.abs()")
        # The class that is there now, not those of former cells.
        assert find("Told", atv.Criterion, "criterion") is vars(main)["Told"]
    finally:
        vars(main).pop("Told", None)


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text("")
    load_files([tmp_path / "a" / "same.py", tmp_path / "a" / ".." / "a" / "same.py"])
    with pytest.raises(ValueError, match=r"plugin: .*same\.py' and .*same\.py' have the same name; rename one of them"):
        load_files([tmp_path / "a" / "same.py", tmp_path / "b" / "same.py"])
