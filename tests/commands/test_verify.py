import json
import shutil

from helpers.pruned_folders import edit


def test_says_what_it_found(atv_command, pruned, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = atv_command.done("verify", pruned, "--base", "bundled")
    assert "of 42 targets, 50.00% of their weights pruned" in out and "Unstructured holds" in out
    assert "89 tensors equal its bit for bit; the kept weights of 42 equal its bit for bit" in out
    assert "13.8 MB dense with zeros; 8.9 MB" in out and "is what its masks and its report say" in out


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
    assert code == 2 and "is what its masks" not in out
    assert "language_model.norm.weight differs from the base model's: first at entry (3,)" in err.splitlines()[-1]


def test_bad_input_is_one_line(atv_command, pruned, tmp_path):
    assert "is not a pruned model: it has no config.json" in atv_command("verify", tmp_path)[2]
    assert "no model at 'nowhere'" in atv_command("verify", pruned, "--base", "nowhere")[2]
    report = json.loads((pruned / "report.json").read_text())
    report["settings"]["plans"]["both"]["pattern"] = {"class": "MyPattern"}
    folder = shutil.copytree(pruned, tmp_path / "sparse")
    (folder / "report.json").write_text(json.dumps(report))
    assert "unknown Pattern 'MyPattern'" in atv_command.refused("verify", folder).splitlines()[-1]
