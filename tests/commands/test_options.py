"""Each option has one heading and a help text that says what it is; hyphens in its name count as underscores."""

from collections import defaultdict

import pytest

from atv.cli import COMMANDS, main, parser
from atv.commands.options import HEADINGS, options_of, parameters_of, with_underscores
from atv.finetuning.settings import Settings
from atv.model.lvlm import name_patterns


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
    places = [shown.index(f"\n{heading}:") for heading in ("Model", "Calibration data", "Method")]
    assert places == sorted(places) and shown.index("\n  --selection ") > places[-1]
    assert "Vision-language model: a folder" in " ".join(shown.split())


def test_hyphens_and_underscores_name_the_same_option(tmp_path):
    both = (["--max-length", "9", "--trust-remote-code=true"], ["--max_length", "9", "--trust_remote_code=true"])
    words = [["prune", "--output", str(tmp_path / "a-b"), *map(with_underscores, own)] for own in both]
    first, second = (parser().parse_args(own).prune for own in words)
    assert first == second and first.max_length == 9 and first.output == tmp_path / "a-b"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("q_proj", ("q_proj",)),
        ("*.mlp.*", ("*.mlp.*",)),
        ("[*.mlp.*]", ("*.mlp.*",)),
        ("q_proj,*.mlp.*", ("q_proj", "*.mlp.*")),
        ("[q_proj, k_proj]", ("q_proj", "k_proj")),
    ],
)
def test_patterns_of_names_are_one_several_with_commas_or_a_list(given, names):
    for command in (["prune"], ["quantize", "folder"]):
        found = parser().parse_args([*command, "--output", "out", "--targets", given])[command[0]]
        assert name_patterns(found.targets) == names
    found = parser().parse_args(["finetune", "folder", "--output", "out", "--train_also", given]).finetune
    assert Settings(train_also=found.train_also).train_also == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--samples", "1e3"], "samples: expected a whole number, got 1000.0"),
        (["--sparsity", "50%"], "sparsity: expected a number or null, got 50%"),
        (["--offload", "gpu"], "offload: expected cpu, disk or null, got gpu"),
        (["--selection.alpha", "much"], "selection.alpha: expected a number or null, got much"),
        (["--selection", "DriftTopK", "--selection.alpa", "1"], "selection: DriftTopK has no alpa"),
        (["--sparcity", "0.5"], "no such option: --sparcity 0.5 (did you mean --sparsity?)"),
    ],
)
def test_a_wrong_option_is_said_in_a_line(words, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "--output", "out", *words])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"atv prune: error: {said}; atv prune --help lists all options"


def test_a_config_that_is_not_there(capsys):
    assert main(["prune", "--config", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err == "atv: error: config: 'nowhere.yaml' cannot be read: No such file or directory\n"


def test_the_command_line_takes_hyphens(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["prune", "--output", str(tmp_path / "out"), "--max-length", "none-such"])
    assert "max_length" in capsys.readouterr().err
