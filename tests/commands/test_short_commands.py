import json
import shutil

import pytest
import torch
from helpers.fake_results import Flat, write
from helpers.pruned_folders import edit, save_pruned
from transformers import AutoModelForImageTextToText

import atv
from atv.bundled import BUNDLED_MODEL
from atv.commands.models import TABLE
from atv.records.digests import weights_digest


def test_writes_both_files_and_says_what_it_left_out(atv_command, tmp_path):
    results = tmp_path / "results"
    write(results, Flat())
    (results / "notes").mkdir()
    code, out, _ = atv_command("report", "--results", results, "--output", results / "report")
    assert code == 0 and "ablations: 1; findings: 1 reproduced, 1 not reproduced, 1 practically equal, 1" in out
    assert f"skipped: {results / 'notes'}: no run.json" in out
    first = {file.name: file.read_bytes() for file in (results / "report").iterdir()}
    assert first.keys() == {"forest.png", "report.html", "report.md"}
    atv_command("report", "--results", results, "--output", results / "report")
    assert {file.name: file.read_bytes() for file in (results / "report").iterdir()} == first


@pytest.mark.parametrize(("made", "message"), [(False, "no folder"), (True, "no ablation's results in")])
def test_without_results_nothing_is_written(atv_command, tmp_path, made, message):
    results = tmp_path / "results"
    if made:
        results.mkdir()
    code, _, err = atv_command("report", "--results", results, "--output", tmp_path / "report")
    assert code == 2 and err.count("\n") == 1 and f"atv: error: results: {message}" in err
    assert not (tmp_path / "report").exists()


def test_the_results_of_another_model_are_named_by_their_option(atv_command, tmp_path):
    write(tmp_path / "results", Flat())
    given = ["--results", tmp_path / "results", "--output", tmp_path / "report", "--beside", tmp_path / "nope"]
    assert f"error: beside: no folder '{tmp_path / 'nope'}'" in atv_command.refused("report", *given)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "--split", "nope"], "nope"),
        (["quantize", BUNDLED_MODEL, "--bits", 5], "bits: "),
        (["inspect", "--linear", "nope", "--samples", 2], "linear: 'nope' matches no Linear"),
    ],
)
def test_a_refused_command_leaves_no_folder(atv_command, tmp_path, words, said):
    assert said in atv_command.refused(*words, "--output", tmp_path / "out") and not (tmp_path / "out").exists()


def test_the_command_weighs_and_times_models_side_by_side(atv_command, tmp_path):
    model, processor = atv.load("bundled")
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.up_proj.weight.zero_()
    model.save_pretrained(tmp_path / "sparse")
    processor.save_pretrained(tmp_path / "sparse")
    options = ["--prompt_tokens", 100, "--new_tokens", 2, "--repeats", 1]
    out = atv_command.done("measure", "bundled", tmp_path / "sparse", *options)
    dense = AutoModelForImageTextToText.from_pretrained(BUNDLED_MODEL)
    assert f"{dense.num_parameters():,}" in out and "answers of 2, 1 turns" in out
    spared = 100 * (1 - 192 * 512 / dense.num_parameters())
    assert f"{spared:.1f}%" in out
    assert f"{(BUNDLED_MODEL / 'model.safetensors').stat().st_size / 1e6:.1f}" in out
    assert "expected each model once" in atv_command.refused("measure", "bundled", "bundled")
    assert "new_tokens: expected 1 or more, got 0" in atv_command.refused("measure", "bundled", "--new_tokens", 0)
    long = atv_command.refused("measure", "bundled", "--prompt_tokens", 10**8)
    assert "prompt_tokens and new_tokens: expected at most 1024 together, the number of positions of 'bundled'" in long


@pytest.fixture
def printed(atv_command, monkeypatch):
    """The cells of each line of a table, and the last line."""
    monkeypatch.setenv("COLUMNS", "300")
    out = atv_command.done("models")
    *lines, last = out.splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")], last


def test_prints_every_type_and_every_refusal(printed):
    cells, last = printed
    found = json.loads(TABLE.read_text())
    tested = {line[0]: line for line in cells if len(line) == 4}
    for kind, row in found["types"].items():
        assert tested[kind][1] == row["class"]
        assert tested[kind][2] == (f"all but {', '.join(row['failed'])}" if row["failed"] else "all")
    assert {line[0]: line[1] for line in cells if len(line) == 2} == found["refused"] | found["untried"]
    assert found["transformers"] in last


def test_says_what_is_particular_about_a_type(printed):
    notes = {line[0]: line[3] for line in printed[0] if len(line) == 4}
    assert "linear_attn.conv1d.weight" in notes["qwen3_5"] and "clips" in notes["qwen3_5"]
    assert "cross-attention" in notes["mllama"] and "row ends" in notes["llava_next"] and not notes["llava"]


@pytest.fixture
def folder(llava, batches, tmp_path):
    save_pruned(llava, batches, tmp_path / "sparse")
    return tmp_path / "sparse"


def test_scores_and_retention_stand_in_card_and_report(atv_command, folder, tmp_path):
    kept = {"value": 97.5, "low": 96.0, "high": 99.0}
    rows = {"GQA": {"score": 61.25, "of": 80, "version": "1"}, "MME": {"score": 1500.5, "of": 40, "version": "2"}}
    (tmp_path / "scores.json").write_text(json.dumps({"benchmarks": rows, "retention": {"GQA": kept}}))
    before = (folder / "README.md").read_text()
    assert "## Scores" not in before
    assert atv_command("card", folder, "--scores", tmp_path / "scores.json")[0] == 0
    text = (folder / "README.md").read_text()
    assert "| GQA | 61.25 | 80 | 1 | 97.50 [96.00, 99.00] |\n| MME | 1500.50 | 40 | 2 |  |" in text
    assert json.loads((folder / "report.json").read_text())["scores"]["GQA"]["kept"] == kept
    assert atv_command("card", folder)[0] == 0 and (folder / "README.md").read_text() == text


def test_scores_of_the_bundled_suite(atv_command, folder, tmp_path):
    tasks = {"reading": {"score": 0.5, "groups": 2, "questions": 4}}
    (tmp_path / "scores.json").write_text(json.dumps({"tasks": tasks, "split": "dev"}))
    assert atv_command("card", folder, "--scores", tmp_path / "scores.json")[0] == 0
    assert "| reading | 50.00 | 4 | bundled, dev |  |" in (folder / "README.md").read_text()


def test_a_suite_is_called_by_its_name(atv_command, folder, tmp_path):
    told = {"tasks": {"reading": {"score": 0.5, "groups": 2, "questions": 4}}, "evaluation": "everyday"}
    (tmp_path / "scores.json").write_text(json.dumps(told | {"split": "test"}))
    atv_command.done("card", folder, "--scores", tmp_path / "scores.json")
    assert "| reading | 50.00 | 4 | everyday, test |  |" in (folder / "README.md").read_text()


def test_another_models_scores_are_refused(atv_command, pruned, tmp_path):
    folder, file = shutil.copytree(pruned, tmp_path / "sparse"), tmp_path / "scores.json"
    told = {"tasks": {"reading": {"score": 0.5, "groups": 2, "questions": 4}}, "split": "test"}
    own = weights_digest(AutoModelForImageTextToText.from_pretrained(folder).named_parameters())
    file.write_text(json.dumps(told | {"model": "some/other", "model_digest": "0" * 16}))
    said = atv_command.refused("card", folder, "--scores", file).splitlines()[-1]
    assert f"scores: expected those of {str(folder)!r}" in said and "another model ('some/other')" in said
    assert "## Scores" not in (folder / "README.md").read_text()
    file.write_text(json.dumps(told | {"model_digest": own}))
    atv_command.done("card", folder, "--scores", file)


@pytest.mark.parametrize(("option", "number"), [("groups", 0), ("groups", -5), ("seeds", 0), ("seeds", -3)])
def test_power_needs_a_group_and_a_seed(atv_command, tmp_path, option, number):
    write(tmp_path / "results", Flat())
    said = atv_command.refused("power", "--results", tmp_path / "results", f"--{option}", number)
    assert f"{option}: expected 1 or more, got {number}" in said


def test_bad_input_is_one_line(atv_command, folder, tmp_path):
    assert "is not a pruned model" in atv_command("card", tmp_path)[2]
    assert "scores: no such file" in atv_command("card", folder, "--scores", tmp_path / "none.json")[2]
    (tmp_path / "scores.json").write_text("{}")
    assert "holds no scores" in atv_command("card", folder, "--scores", tmp_path / "scores.json")[2]


def test_says_what_it_found(atv_command, pruned, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = atv_command.done("verify", pruned, "--base", "bundled")
    assert "42 targets, 50.00% of their weights pruned" in out and "Unstructured holds" in out
    assert "89 tensors equal the base model's bit for bit; the kept weights of 42 are equal, too" in out
    assert "13.8 MB dense with zeros; 8.9 MB" in out and "matches its masks and its report" in out


def test_without_a_base_model_nothing_is_compared(atv_command, pruned):
    code, out, _ = atv_command("verify", pruned, "--max_new_tokens", 0)
    assert code == 0 and "not compared" in out and "skipped" in out


def test_blocks_that_were_streamed_to_disk(atv_command, small_pool, tmp_path):
    options = ["--samples", 4, "--calibration", small_pool, "--selection", "TextOnly", "--offload", "disk"]
    assert atv_command("prune", "--output", tmp_path / "out", *options)[0] == 0
    assert "89 tensors equal" in atv_command.done("verify", tmp_path / "out", "--base", "bundled")
    assert "bundled" in (tmp_path / "out" / "README.md").read_text() and (tmp_path / "out" / "pruning.png").is_file()
    assert not (tmp_path / "out" / "blocks").exists() and not (tmp_path / "out" / ".waiting").exists()


def test_the_first_tensor_that_differs_is_named(atv_command, pruned, tmp_path):
    folder = shutil.copytree(pruned, tmp_path / "sparse")
    edit(folder, lambda tensors: tensors["language_model.model.norm.weight"][3].add_(1e-6))
    assert atv_command("verify", folder)[0] == 0
    code, out, err = atv_command("verify", folder, "--base", "bundled")
    assert code == 2 and "matches its masks" not in out
    assert "language_model.norm.weight differs from the base model's: first at entry (3,)" in err.splitlines()[-1]


def test_bad_input_of_verify_is_one_line(atv_command, pruned, tmp_path):
    assert "is not a pruned model: it has no config.json" in atv_command("verify", tmp_path)[2]
    assert "no model at 'nowhere'" in atv_command("verify", pruned, "--base", "nowhere")[2]
    report = json.loads((pruned / "report.json").read_text())
    report["settings"]["plans"]["both"]["pattern"] = {"class": "MyPattern"}
    folder = shutil.copytree(pruned, tmp_path / "sparse")
    (folder / "report.json").write_text(json.dumps(report))
    assert "unknown Pattern 'MyPattern'" in atv_command.refused("verify", folder).splitlines()[-1]
