"""Each option has one heading and a help text that says what it is; hyphens in its name count as underscores."""

from collections import defaultdict

import pytest

from atv.cli import COMMANDS, main, parser
from atv.commands.options import HEADINGS, options_of, parameters_of, with_underscores


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_option_is_explained(command):
    explained = {option.name: option.help for option in options_of(command)}
    assert explained.keys() == parameters_of(command).keys()
    for name, text in explained.items():
        first = text.split()[0]
        assert first[0].isupper() and first not in ("Of", "See", "The", "As") and text.endswith("."), f"{name}: {text}"


def test_an_option_has_one_heading():
    headings = defaultdict(list)
    for heading, names in HEADINGS.items():
        for name in names:
            headings[name].append(heading)
    assert all(len(found) == 1 for found in headings.values())
    used = {name for command in COMMANDS for name in parameters_of(command)}
    assert headings.keys() == used


def test_help_lists_options_by_heading(capsys):
    with pytest.raises(SystemExit):
        main(["prune", "--help"])
    shown = capsys.readouterr().out
    places = [shown.index(f"\n{heading}:") for heading in ("Model", "Calibration data", "What is pruned, and how")]
    assert places == sorted(places) and shown.index("\n  --selection ") > places[-1]
    assert "Vision-language model: a folder" in " ".join(shown.split())


def test_hyphens_and_underscores_name_the_same_option(tmp_path):
    both = (["--max-length", "9", "--trust-remote-code=true"], ["--max_length", "9", "--trust_remote_code=true"])
    words = [["prune", "--output", str(tmp_path / "a-b"), *map(with_underscores, own)] for own in both]
    first, second = (parser().parse_args(own).prune for own in words)
    assert first == second and first.max_length == 9 and first.output == tmp_path / "a-b"


def test_the_command_line_takes_hyphens(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["prune", "--output", str(tmp_path / "out"), "--max-length", "none-such"])
    assert "max_length" in capsys.readouterr().err
