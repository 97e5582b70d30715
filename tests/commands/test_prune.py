import errno
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from helpers.layouts import jpg, sharegpt4v
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError
from transformers import AutoModelForImageTextToText, AutoProcessor

import atv


def test_writes_a_folder_that_from_pretrained_loads(atv_command, tmp_path):
    code, out, _ = atv_command("prune", "--output", tmp_path / "sparse", "--samples", 8, "--sparsity", 0.6)
    assert code == 0 and "of the target Linears" in out
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "sparse")
    AutoProcessor.from_pretrained(tmp_path / "sparse")
    report = json.loads((tmp_path / "sparse" / "report.json").read_text())
    assert report["schema"] == 1 and report["sparsity"]["target_linears"] > report["sparsity"]["whole_model"]
    for name, mask in atv.load_masks(tmp_path / "sparse" / "masks.safetensors").items():
        weight = model.get_submodule(name).weight
        assert torch.equal(weight != 0, mask & (weight != 0)) and (~mask).float().mean() > 0.59


def test_what_goes_whole_leaves_a_smaller_model_that_answers(atv_command, tmp_path):
    options = ["--pattern", "FFNChannels", "--pattern.multiple", 64, "--sparsity", 0.3, "--samples", 4]
    atv_command.done("prune", "--output", tmp_path / "out", *options)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    # 512 - 153 = 359 is nearer to 384 than to 320.
    assert model.config.text_config.intermediate_size == 384
    code, out, err = atv_command("verify", tmp_path / "out", "--base", "bundled", "--max_new_tokens", 2)
    assert code == 0 and "intermediate_size 512 -> 384" in " ".join(out.split()), err


def test_a_keyboard_interrupt_is_one_line_and_the_same_command_goes_on(atv_command, tmp_path, monkeypatch):
    def interrupted(self, block):
        raise KeyboardInterrupt

    monkeypatch.setattr("atv.calibration.stopping.StopCalibration.finish", interrupted)
    options = ["prune", "--output", tmp_path / "sparse", "--samples", 4]
    code, _, err = atv_command(*options)
    assert code == 130 and err.splitlines()[-1].startswith("atv: interrupted; the same command resumes")
    monkeypatch.undo()
    assert [file.name for file in (tmp_path / "sparse" / "blocks").glob("*.json")] == ["000.json"]
    atv_command.done(*options)


def test_a_rule_from_a_file(atv_command, tmp_path):
    rule = tmp_path / "my_rule.py"
    rule.write_text(
        "from atv import TokenSelection\n\n\n"
        "class EveryThird(TokenSelection):\n"
        '    """Text tokens and every third visual token."""\n\n'
        "    def select(self, tokens):\n"
        "        return tokens.text | (tokens.position % 3 == 0)\n"
    )
    options = ["--plugin", rule, "--selection", "EveryThird", "--samples", 4]
    atv_command.done("prune", "--output", tmp_path / "out", *options)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["plans"]["both"]["selection"]["class"] == "EveryThird"


def test_a_yaml_file_is_a_whole_run(atv_command, tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"output: {tmp_path / 'out'}\nsamples: 4\npattern: '2:4'\n"
        "selection:\n  class_path: DriftTopK\n  init_args:\n    alpha: 2.0\n"
    )
    atv_command.done("prune", "--config", tmp_path / "run.yaml")
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]["plans"]["both"]
    assert settings["selection"]["alpha"] == 2.0 and settings["pattern"] == {"class": "NOfM", "n": 2, "m": 4}


def test_methods_calibrate_on_the_same_samples_of_a_raw_layout(atv_command, tmp_path):
    annotations, images = sharegpt4v(tmp_path, 20, tasks=("coco", "sharegpt4v"))
    drawn = []
    for rule in ("AllTokens", "DriftTopK"):
        source = ["--calibration", "ShareGPT4V", "--calibration.annotations", annotations]
        source += ["--calibration.images", images, "--calibration.task", "sharegpt4v"]
        options = ["--selection", rule, "--samples", 6, "--max_length", 90]
        atv_command.done("prune", "--output", tmp_path / rule, *source, *options)
        record = json.loads((tmp_path / rule / "report.json").read_text())["calibration"]
        assert record["data"] == {
            "class": "ShareGPT4V", "annotations": str(annotations), "images": str(images), "task": "sharegpt4v"
        }  # fmt: skip
        assert record["shortened"] == 6 and record["broken"] == [] and record["max_length"] == 90
        drawn.append(record["ids"])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 6 and {int(id[1:]) % 2 for id in drawn[0]} == {1}


def test_a_missing_picture_is_replaced_and_reported(atv_command, tmp_path):
    annotations, images = sharegpt4v(tmp_path, 22)
    for number in (3, 4, 5):
        (images / "coco" / f"00{number}.jpg").unlink()
    options = ["--calibration", "ShareGPT4V", "--calibration.annotations", annotations, "--calibration.images", images]
    options += ["--output", tmp_path / "out", "--samples", 20]
    code, _, err = atv_command("prune", *options)
    assert code == 2 and "2 of 20 samples cannot be used, more than 5%" in err and "No such file" in err
    for number in (4, 5):
        (images / "coco" / f"00{number}.jpg").write_bytes(jpg(number))
    code, _, err = atv_command("prune", *options)
    assert code == 0 and "calibration: 's3' cannot be used" in err
    record = json.loads((tmp_path / "out" / "report.json").read_text())["calibration"]
    assert [broken["id"] for broken in record["broken"]] == ["s3"] and len(record["ids"]) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_pixels", "1000"], "max_pixels: CLIPImageProcessorPil resizes pictures to its own sizes"),
        (["--min_pixels", "5"], "min_pixels: CLIPImageProcessorPil resizes pictures to its own sizes"),
        (["--max_length", "50"], "tokens over max_length 50 even without text"),
        (["--model", "nowhere"], "no model at 'nowhere'"),
        (["--model", "everday"], "did you mean 'everyday'?"),
        (["--pattern", "5:7"], "does not divide a row of 192 inputs"),
        (
            ["--calibration", "nowhere"],
            "calibration: 'nowhere' is neither 'bundled' nor 'everyday' nor a local data set",
        ),
        (["--plugin", "nowhere.py"], "plugin: no such file 'nowhere.py'"),
        (["--targets", "[nothing]"], "'nothing' matches no Linear"),
        (["--targets", "*.nothing.*"], "'*.nothing.*' matches no Linear"),
        (["--trainer.foo", "3"], "trainer: "),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(atv_command, tmp_path, options, message):
    code, _, err = atv_command("prune", "--output", tmp_path / "new" / "out", *options)
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("atv: error: ") and message in last and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsity", "1.5"], "sparsity: expected a number in [0, 1), got 1.5"),
        (["--pattern", "2:4", "--sparsity", "0.6"], "sparsity: 0.6 contradicts the pattern '2:4', which implies 0.5"),
        (["--pattern", "2:4", "--allocation", "OWL"], "allocation: the pattern NOfM fixes the sparsity"),
        (["--samples", "0"], "samples: expected 1 to"),
        (["--batch_size", "0"], "batch_size: expected 1 or more, got 0"),
        (
            ["--trainer.limit_predict_batches", "2"],
            "trainer.limit_predict_batches: expected 1.0, got 2, which may leave",
        ),
        (["--trainer.precision", "bf16-true"], "got bf16-true, which casts the whole model; load the model in that"),
    ],
)
def test_what_needs_no_model_is_told_before_one_is_looked_for(atv_command, tmp_path, options, message):
    code, _, err = atv_command("prune", "--model", "nowhere", "--output", tmp_path / "out", *options)
    assert code == 2 and message in err.splitlines()[-1] and not (tmp_path / "out").exists()


UNKNOWN = {
    "selection": ("DriftTopk", "unknown TokenSelection 'DriftTopk'; did you mean 'DriftTopK'?", {"AMIA", "AllTokens"}),
    "criterion": ("wanda", "unknown Criterion 'wanda'; did you mean 'Wanda'?", {"Magnitude", "RIA", "SparseGPT"}),
    "pattern": ("PerBlok", "unknown Pattern 'PerBlok'; did you mean 'PerBlock'?", {"NOfM", "PerBlock", "PerLayer"}),
    "allocation": ("OVL", "unknown Allocation 'OVL'; did you mean 'OWL'?", {"ByKind", "DAS", "DLP"}),
}


def tells(error, field, message, choices):
    """Other tests may have added choices of their own."""
    said, _, listed = error.partition(" Choices: ")
    return said == f"atv: error: {field}: {message}" and choices <= set(listed.strip().split(", "))


@pytest.mark.parametrize(
    ("field", "form"),
    [(field, "--{field}={name}") for field in UNKNOWN]
    + [("selection", "--{field}.class_path={name}"), ("pattern", "--{field}={{class_path: {name}}}")],
)
def test_an_unknown_rule_names_the_nearest_and_the_choices(atv_command, tmp_path, field, form):
    name, *told = UNKNOWN[field]
    code, _, err = atv_command("prune", "--output", tmp_path / "out", form.format(field=field, name=name))
    assert code == 2 and tells(err, field, *told) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "form"), [("criterion", "{field}: {name}"), ("allocation", "{field}:\n  class_path: {name}")]
)
def test_an_unknown_rule_in_a_yaml_file_too(atv_command, tmp_path, field, form):
    name, *told = UNKNOWN[field]
    (tmp_path / "run.yaml").write_text(form.format(field=field, name=name))
    code, _, err = atv_command("prune", "--config", tmp_path / "run.yaml", "--output", tmp_path / "out")
    assert code == 2 and tells(err, field, *told)


def test_an_unknown_rule_may_be_one_of_your_own(atv_command, tmp_path):
    (tmp_path / "rule.py").write_text("import atv\n\n\nclass Mine(atv.TextOnly):\n    pass\n")
    code, _, err = atv_command(
        "prune", "--output", tmp_path / "out", "--plugin", tmp_path / "rule.py", "--selection", "Min"
    )
    assert code == 2 and "did you mean 'Mine'?" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples: [8\n", "is not YAML"),
        ("samples: " + "[" * 1000, "is not YAML"),
        ("samples: 2024-13-45\n", "is not YAML: month must be in 1..12"),
        ("- samples\n", "must map options to values, but it holds ['samples']"),
        ("", "run.yaml' is empty; it must map options to values"),
    ],
)
def test_a_config_that_holds_no_options(atv_command, tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    code, _, err = atv_command("prune", "--config", tmp_path / "run.yaml")
    assert code == 2 and err.startswith("atv: error: config: ") and message in err


def test_a_config_in_another_encoding(atv_command, tmp_path):
    (tmp_path / "run.yaml").write_text("samples: 3\n", encoding="utf-16")
    assert "run.yaml' is not UTF-8; save it as UTF-8" in atv_command.refused("prune", "--config", tmp_path / "run.yaml")


@pytest.mark.parametrize("plugin", ["5", "[3]", "{a: b}"])
def test_a_config_whose_plugin_is_no_file(atv_command, tmp_path, plugin):
    (tmp_path / "run.yaml").write_text(f"plugin: {plugin}\n")
    code, _, err = atv_command("prune", "--config", tmp_path / "run.yaml")
    assert code == 2 and err.startswith("atv: error: plugin: expected a Python file or a list of them, got ")


def test_unknown_options_stop(atv_command, tmp_path):
    with pytest.raises(SystemExit):
        atv_command("prune", "--output", tmp_path / "out", "--sparcity", "0.5")


def test_a_full_output_folder_is_left_alone(atv_command, tmp_path):
    (tmp_path / "precious").write_text("")
    assert "is not empty" in atv_command.refused("prune", "--output", tmp_path)


def test_a_finished_run_is_not_run_again(atv_command, tmp_path):
    options = ["--output", tmp_path / "out", "--samples", 4]
    assert atv_command("prune", *options)[0] == 0
    written = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert not (tmp_path / "out" / "blocks").exists()
    assert "this run is already finished" in atv_command.done("prune", *options)
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == written
    code, _, err = atv_command("prune", *options, "--sparsity", 0.6)
    assert code == 2 and "holds another run: plans.both.sparsity is 0.5 there and 0.6 here" in err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free space or choose another"),
        (
            torch.OutOfMemoryError("tried to allocate 20 GiB"),
            "out of memory: tried to allocate 20 GiB; use fewer --samp",
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "or --offload disk. Finished blocks are kept"),
    ],
)
def test_no_room_left_says_what_to_change(atv_command, tmp_path, monkeypatch, error, message):
    def full(*_):
        raise error

    monkeypatch.setattr("atv.records.run_folder.RunFolder.write_block", full)
    assert message in atv_command.refused("prune", "--output", tmp_path / "out", "--samples", 2).splitlines()[-1]
    assert not (tmp_path / "out" / "config.json").exists()


def test_help_explains_rules_and_options(capsys):
    from atv.cli import main

    with pytest.raises(SystemExit):
        main(["prune", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    drift = "DriftTopK: All text tokens, and the visual tokens that the block moves most"
    for phrase in (drift, "TextOnly: Text tokens only", "Wanda"):
        assert phrase in text


def test_too_little_space_is_said_before_calibration(atv_command, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=13_000_000))
    code, _, err = atv_command("prune", "--output", tmp_path / "out", "--samples", 2)
    assert (
        code == 2 and f"run_dir: '{tmp_path / 'out'}' needs 0.01 GB more, but only 0.01 GB are" in err.splitlines()[-1]
    )
    assert not (tmp_path / "out" / "blocks").exists()


TOKEN = "hf_secret"


@pytest.fixture
def hub(monkeypatch):
    """Notes what would have been sent; nothing is."""
    calls = []

    def note(method, result=None):
        def call(self, *args, **options):
            calls.append((method, args, options))
            return result

        monkeypatch.setattr(HfApi, method, call)

    note("whoami", {"name": "someone"})
    note("create_repo", "https://huggingface.co/someone/sparse")
    note("upload_folder")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return calls


def test_the_finished_folder_is_sent_and_what_the_run_keeps_for_itself_is_not(atv_command, hub, small_pool, tmp_path):
    options = ["--output", tmp_path / "out", "--samples", 2, "--calibration", small_pool]
    assert atv_command("prune", *options)[0] == 0 and not hub  # nothing is sent unless asked
    for _ in range(2):  # a finished run is sent again, not run again
        code, out, err = atv_command("prune", *options, "--push_to_hub", "someone/sparse")
        assert code == 0, err
        assert [method for method, *_ in hub] == ["whoami", "create_repo", "upload_folder"]
        sent = hub[-1][2]
        assert sent["repo_id"] == "someone/sparse" and sent["folder_path"] == tmp_path / "out"
        assert {"run.json", "allocation.json"} <= set(sent["ignore_patterns"])
        assert TOKEN not in out + err and not any(
            TOKEN in file.read_text() for file in (tmp_path / "out").glob("*") if file.suffix in (".json", ".md")
        )
        hub.clear()


def test_without_a_login_nothing_is_begun(atv_command, hub, monkeypatch, tmp_path):
    def unknown(self):
        raise LocalTokenNotFoundError(f"Authorization: Bearer {TOKEN}")

    monkeypatch.setattr(HfApi, "whoami", unknown)
    code, _, err = atv_command("prune", "--output", tmp_path / "out", "--samples", 2, "--push_to_hub", "someone/x")
    assert code == 2 and "push_to_hub: no login that the hub accepts" in err and TOKEN not in err
    code, _, err = atv_command("prune", "--output", tmp_path / "out", "--push_to_hub", "not a name!")
    assert code == 2 and "push_to_hub: " in err.splitlines()[-1] and "not a name!" in err
    assert not (tmp_path / "out" / "config.json").exists() and not hub
