import json
import os
import shutil
import signal

import pytest
import torch
from datasets import Dataset, Image
from helpers.pruned_folders import prune_by_command
from PIL import Image as Picture
from transformers import AutoModelForImageTextToText, AutoProcessor

import atv
from atv.bundled import BUNDLED_MODEL
from atv.bundled.data import calibration_pool
from atv.finetuning.training_run import SparseFinetuning

SHORT = ["--samples", 8, "--validation", 4, "--epochs", 2, "--batch_size", 4, "--trainer.enable_progress_bar", "false"]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory, small_pool):
    folder = tmp_path_factory.mktemp("pruned") / "sparse"
    return prune_by_command(folder, small_pool, "--samples", "2", "--sparsity", "0.7")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Options of a short run on a small part of the bundled pool."""
    folder = tmp_path_factory.mktemp("data")
    calibration_pool(12).save_to_disk(folder)
    return ["--calibration", folder, *SHORT]


@pytest.fixture(scope="module")
def unanswered(tmp_path_factory):
    """A folder of twelve samples in which nobody answers."""
    folder, turns = tmp_path_factory.mktemp("unanswered"), [[{"role": "user", "text": "describe the picture ."}]] * 12
    rows = Dataset.from_dict({"image": [Picture.new("RGB", (54, 54))] * 12, "conversation": turns})
    rows.cast_column("image", Image()).save_to_disk(folder)
    return folder


def test_writes_a_pruned_folder_with_the_same_zeros(atv_command, sparse, few, tmp_path):
    options = [*few, "--learning_rate", "1e-3", "--logger", "csv"]
    out = atv_command.done("finetune", sparse, "--output", tmp_path / "tuned", *options)
    assert "trained for 4 steps, zeros intact" in out
    before, after = (AutoModelForImageTextToText.from_pretrained(folder) for folder in (sparse, tmp_path / "tuned"))
    AutoProcessor.from_pretrained(tmp_path / "tuned")
    masks = atv.load_masks(tmp_path / "tuned" / "masks.safetensors")
    for name, weight in after.named_parameters():
        old, mask = before.get_parameter(name), masks.get(name.removesuffix(".weight"))
        assert torch.equal(weight, old) if mask is None else not weight[~mask].any() and (weight != old)[mask].any()
    report = json.loads((tmp_path / "tuned" / "report.json").read_text())
    assert report["sparsity"]["target_linears"] > 0.69
    told = report["finetuning"]
    assert (told["from"], told["steps"], told["learning_rate"]) == (str(sparse), 4, 1e-3)
    assert told["losses"][-1]["loss"] < told["losses"][0]["loss"]
    assert not (tmp_path / "tuned" / "checkpoints").exists()
    assert "validation_loss" in (tmp_path / "tuned" / "log" / "metrics.csv").read_text()
    assert "| learning_rate | 0.001 |" in (tmp_path / "tuned" / "README.md").read_text()
    assert "matches its masks" in " ".join(atv_command.done("verify", tmp_path / "tuned", "--base", "bundled").split())
    assert "is already finished" in atv_command.done("finetune", sparse, "--output", tmp_path / "tuned", *options)
    code, _, err = atv_command("finetune", sparse, "--output", tmp_path / "tuned", *few)
    assert code == 2 and "holds another run: settings.learning_rate is 0.001 there and 0.0001 here" in err


@pytest.mark.slow
def test_a_masked_adapter_with_recomputed_blocks(atv_command, sparse, few, tmp_path):
    options = ["--lora_rank", 4, "--gradient_checkpointing", "true", "--trainer.precision", "bf16-mixed"]
    atv_command.done("finetune", sparse, "--output", tmp_path / "tuned", *few, *options)
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "tuned")
    for name, mask in atv.load_masks(sparse / "masks.safetensors").items():
        assert not after.get_submodule(name).weight[~mask].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "13"], "samples: expected 1 to 12"),
        (["--batch_size", "0"], "batch_size: expected more than 0, got 0"),
        (["--epochs", "-1"], "epochs: expected more than 0, got -1"),
        (["--lora_rank", "1000"], "lora_rank: expected 1 to"),
        (["--checkpoint_every", "0"], "checkpoint_every: expected 1 or more, got 0"),
        (["--train_also", "[nothing]"], "train_also: 'nothing' matches no parameter"),
        (["--calibration", "nowhere"], "calibration: 'nowhere'"),
        (["--trainer.prescision", "16"], "trainer: "),
        (["--trainer.strategy", "fsdp", "--trainer.devices", "auto"], "fsdp needs the number of devices, got 'auto'"),
    ],
)
def test_bad_input_is_one_line(atv_command, sparse, few, tmp_path, options, message):
    code, _, err = atv_command("finetune", sparse, "--output", tmp_path / "out", *few, *options)
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("atv: error: ") and message in last


def test_a_folder_that_is_not_a_pruned_model_is_refused(atv_command, sparse, tmp_path):
    code, _, err = atv_command("finetune", BUNDLED_MODEL, "--output", tmp_path / "out")
    assert code == 2 and "is not a pruned model: it has no masks.safetensors" in err
    assert "no model at 'nowhere'" in atv_command.refused("finetune", "nowhere", "--output", tmp_path / "out")
    (tmp_path / "precious").write_text("")
    assert "is not empty" in atv_command.refused("finetune", sparse, "--output", tmp_path)


def test_sigterm_ends_the_run_in_one_line_and_the_same_command_goes_on(atv_command, sparse, few, tmp_path, monkeypatch):
    step = SparseFinetuning.training_step

    def asked(self, batch, index):
        if self.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, index)

    monkeypatch.setattr(SparseFinetuning, "training_step", asked)
    options = [sparse, "--output", tmp_path / "tuned", *few, "--checkpoint_every", 1]
    code, _, err = atv_command("finetune", *options)
    assert code == 143 and "the same command resumes from the last checkpoint" in err.splitlines()[-1]
    monkeypatch.undo()
    assert "trained for 4 steps" in atv_command.done("finetune", *options)


@pytest.mark.parametrize("logger", ["csv", "wandb"])
@pytest.mark.parametrize(("batch", "step"), [(4, 2), (8, 1)], ids=["in training", "in validation"])
def test_a_rate_at_which_training_diverges_is_named_and_leaves_room_for_a_lower_one(
    atv_command, sparse, few, tmp_path, batch, step, logger
):
    options = [sparse, "--output", tmp_path / "tuned", *few, "--logger", logger, "--checkpoint_every", 1, "--warmup", 0]
    options += ["--epochs", 1, "--batch_size", batch]
    said = atv_command.refused("finetune", *options, "--learning_rate", 1e30).splitlines()[-1]
    assert f"learning_rate: 1e+30 is too high, expected finite losses, got non-finite ones at step {step}" in said
    assert not any((tmp_path / "tuned").iterdir())
    assert "zeros intact" in atv_command.done("finetune", *options, "--learning_rate", 1e-4)


def test_data_without_answers_are_refused(atv_command, sparse, unanswered, tmp_path):
    options = ["--calibration", unanswered, *SHORT]
    assert "no assistant turn with" in atv_command.refused("finetune", sparse, "--output", tmp_path / "out", *options)


def test_the_dense_models_outputs_are_learned_without_an_answer(atv_command, sparse, unanswered, tmp_path):
    options = ["--calibration", unanswered, *SHORT, "--teacher", "base", "--learning_rate", "1e-3"]
    atv_command.done("finetune", sparse, "--output", tmp_path / "tuned", *options)
    told = json.loads((tmp_path / "tuned" / "report.json").read_text())["finetuning"]
    assert told["teacher"] == "bundled" and told["losses"][-1]["loss"] < told["losses"][0]["loss"]
    assert "| teacher | bundled |" in (tmp_path / "tuned" / "README.md").read_text()
    masks = atv.load_masks(sparse / "masks.safetensors")
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "tuned")
    assert not any(after.get_submodule(name).weight[~mask].any() for name, mask in masks.items())
    assert "is already finished" in atv_command.done("finetune", sparse, "--output", tmp_path / "tuned", *options)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """Copies of the bundled model's folder in which the config or the tokenizer says something else."""

    def made(file, old, new):
        folder = tmp_path_factory.mktemp("another") / "model"
        shutil.copytree(BUNDLED_MODEL, folder)
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        return folder

    return made


def test_a_teacher_of_other_words_or_another_type_is_refused(atv_command, sparse, few, another, tmp_path):
    def told(teacher):
        err = atv_command.refused("finetune", sparse, "--output", tmp_path / "out", *few, "--teacher", teacher)
        return err.splitlines()[-1]

    assert "error: teacher: 'nowhere' cannot be used: model: no model at 'nowhere'" in told("nowhere")
    assert "its tokenizer has different tokens" in told(another("tokenizer.json", '"circle"', '"circles"'))
    assert "its type is 'llava_next', but that of the model to train is 'llava'" in told(
        another("config.json", '"model_type": "llava"', '"model_type": "llava_next"')
    )
    wider = told(another("config.json", '"vocab_size": ', '"vocab_size": 1'))
    assert "its vocabulary's size is 1" in wider
    elsewhere = shutil.copytree(sparse, tmp_path / "moved")
    report = json.loads((sparse / "report.json").read_text())
    (elsewhere / "report.json").write_text(json.dumps(report | {"base": report["base"] | {"model": "gone"}}))
    code, _, err = atv_command("finetune", elsewhere, "--output", tmp_path / "out", *few, "--teacher", "base")
    assert code == 2 and "no model at 'gone'" in err and "report.json names it; choose another with --teacher" in err
