"""A model with the everyday one's parts goes through the commands with its own data, at its own levels."""

import json
from pathlib import Path

import pandas as pd
import pytest

import atv.everyday.data
from atv.ablation import measuring
from atv.ablation.measuring import require_english
from atv.bundled import BUNDLED
from atv.cli import main
from atv.data.sources import load_calibration, own_data
from atv.everyday import plain_english
from atv.everyday.assembly import made_folder
from atv.everyday.assembly.made_folder import write_folder
from atv.model.loading import load_processor, model_folder

FILE = Path(__file__).parents[3] / "ablations" / "visual_sparsity.py"


@pytest.fixture(scope="module")
def made(model_and_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "everyday"
    write_folder(*model_and_processor, folder, [])
    return folder


@pytest.fixture
def little(made, monkeypatch):
    """The tiny model in the everyday model's place, eight calibration samples, short texts.

    Random weights answer nothing right, and nothing could be kept of that: any answer counts.
    """
    scored = measuring.scored_answers
    monkeypatch.setattr(measuring, "scored_answers", lambda predicted: scored(predicted).assign(credit=1.0))
    monkeypatch.setenv("ATV_EVERYDAY", str(made))
    monkeypatch.setattr(made_folder, "DIGEST", None)
    pool = atv.everyday.data.calibration_pool
    monkeypatch.setattr(atv.everyday.data, "calibration_pool", lambda: pool(8))
    monkeypatch.setattr(atv.everyday.data, "POOL_SIZE", 8)
    monkeypatch.setattr(plain_english, "texts", lambda: {"one": "the cat is on the mat", "two": "a dog"})
    return made


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_cells_tell_what_is_left_of_the_language(little, tmp_path, capsys):
    options = ["ablate", "--file", FILE, "--model", "everyday", "--samples", 2, "--groups", 1, "--max_new_tokens", 2]
    options += ["--sparsities", 0.5, "--results", tmp_path, "--logger", "none"]
    assert run(*options) == 0
    table = pd.read_csv(tmp_path / "visual_sparsity" / "table.csv")
    assert set(table["sparsity"]) == {0.0, 0.5} and "perplexity" not in table

    assert run(*options, "--language", "true") == 0
    assert "from disk" not in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "visual_sparsity" / "table.csv").drop_duplicates(["pathway", "sparsity"])
    read = dict(zip(zip(table["pathway"], table["sparsity"], strict=True), table["perplexity"], strict=True))
    # Text alone has no visual tokens, so the visual pathway leaves it as it was.
    assert read["visual", 0.5] == read["none", 0.0] != read["text", 0.5]
    assert table["unended %"].between(0, 100).all() and table["repeating %"].between(0, 100).all()
    shown = (tmp_path / "visual_sparsity" / "table.md").read_text()
    assert "perplexity" in shown and "unended %" in shown

    made = json.loads((tmp_path / "visual_sparsity" / "run.json").read_text())
    assert made["calibration"] == made["evaluation"] == "everyday"
    assert (made["language"], made["sparsities"], made["patterns"]) == (True, "0.5", None)
    for file in tmp_path.glob("cells/*/cell.json"):
        told = json.loads(file.read_text())
        assert set(told["perplexity"]) == {"one", "two", "all"} and {text for text, *_ in told["windows"]} == {
            "one",
            "two",
        }
    answers = pd.read_parquet(next(tmp_path.glob("cells/*/rows.parquet")))
    assert answers["ended"].dtype == bool

    assert run(*options, "--language", "true") == 0
    out = capsys.readouterr().out
    assert out.count("from disk") == 1 + 3 * 2


def test_data_follow_the_model_and_what_was_pruned_from_it(little, tmp_path):
    assert own_data("everyday") == own_data(str(little)) == "everyday"
    assert own_data("bundled") == own_data("owner/name") == own_data(str(model_folder(BUNDLED))) == "bundled"
    pruned = tmp_path / "pruned"
    assert run("prune", "--output", pruned, "--model", "everyday", "--samples", 2, "--sparsity", 0.3) == 0
    assert own_data(str(pruned)) == "everyday"
    assert load_calibration(None, str(pruned)).record() == load_calibration("everyday").record()
    for broken in ("no JSON", '{"base": [1]}', '{"base": {"model": 5}}'):
        (pruned / "report.json").write_text(broken)
        assert own_data(str(pruned)) == "bundled"


def test_the_pruned_model_is_asked_everyday_questions(little, tmp_path):
    assert run("evaluate", "--model", "everyday", "--split", "unseen", "--groups", 1, "--output", tmp_path) == 0
    asked = json.loads((tmp_path / "scores.json").read_text())
    assert (asked["evaluation"], asked["split"]) == ("everyday", "unseen")


def test_a_tokenizer_without_english_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"language: the model's tokenizer does not know \d+% of plain English"):
        require_english(load_processor(model_folder(BUNDLED)).tokenizer)
    monkeypatch.setattr("atv.ablation.measuring.texts", lambda: {"simple": "what color is the star ?"})
    require_english(load_processor(model_folder(BUNDLED)).tokenizer)
