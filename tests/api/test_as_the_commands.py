"""What a command does, its function in Python does: the same files, byte for byte but for times."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import atv
from atv.bundled import BUNDLED_MODEL
from atv.cli import main
from atv.verification.saved_model import VerificationError


@pytest.fixture(scope="module")
def pool(small_pool):
    return str(small_pool)


@pytest.fixture(scope="module")
def by_command(tmp_path_factory, pool):
    folder = tmp_path_factory.mktemp("command") / "sparse"
    asked = ["--calibration", pool, "--samples", "3", "--sparsity", "0.6", "--seed", "1"]
    assert main(["prune", "--output", str(folder), *asked]) == 0
    return folder


@pytest.fixture(scope="module")
def in_python(tmp_path_factory, pool):
    folder = tmp_path_factory.mktemp("python") / "sparse"
    model, processor = atv.load("bundled")
    batches = atv.calibration_batches(processor, pool, samples=3, seed=1)
    report = atv.prune(model, batches, sparsity=0.6, seed=1, run_dir=folder)
    return folder, model, processor, atv.save(folder, model, processor, report)


def files(folder):
    return {file.relative_to(folder) for file in Path(folder).rglob("*") if file.is_file()}


def without_times(value):
    """JSON without what a clock said."""
    if isinstance(value, dict):
        return {key: without_times(own) for key, own in value.items() if not key.endswith("seconds")}
    return [without_times(own) for own in value] if isinstance(value, list) else value


def assert_same(folder, other):
    assert files(folder) == files(other)
    for file in files(folder):
        if file.name == "report.json":
            told, expected = (json.loads((place / file).read_text()) for place in (folder, other))
            assert without_times(told) == without_times(expected) and list(told) == list(expected)
        elif file.name == "README.md":
            told, expected = ((place / file).read_text().splitlines() for place in (folder, other))
            assert [line for line in told if not line.startswith("| seconds |")] == [
                line for line in expected if not line.startswith("| seconds |")
            ]
        else:
            assert (folder / file).read_bytes() == (other / file).read_bytes(), file


def test_a_folder_written_from_python_is_the_commands(by_command, in_python):
    assert {"model.safetensors", "masks.safetensors", "config.json", "processor_config.json", "run.json"} <= {
        str(file) for file in files(by_command)
    }
    assert_same(in_python[0], by_command)


def test_a_model_that_transformers_loaded_gives_the_same_weights_and_is_verified(by_command, pool, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(BUNDLED_MODEL, dtype="auto").eval()
    processor = AutoProcessor.from_pretrained(BUNDLED_MODEL)
    report = atv.prune(model, atv.calibration_batches(processor, pool, samples=3, seed=1), sparsity=0.6, seed=1)
    saved = atv.save(tmp_path, model, processor, report)
    for name in ("model.safetensors", "masks.safetensors", "config.json", "processor_config.json"):
        assert (tmp_path / name).read_bytes() == (by_command / name).read_bytes()
    assert saved.base.model == str(BUNDLED_MODEL) and saved.calibration["seed"] == 1
    assert "equal the base model's bit for bit" in atv.verify(tmp_path, "bundled", max_new_tokens=2)["base"]


def test_the_same_call_takes_a_saved_run_from_its_folder(in_python, pool):
    folder, pruned, processor, saved = in_python
    written = (folder / "model.safetensors").stat().st_mtime_ns
    model, _ = atv.load("bundled")
    report = atv.prune(
        model, atv.calibration_batches(processor, pool, samples=3, seed=1), sparsity=0.6, seed=1, run_dir=folder
    )
    assert report.as_dict() == saved.as_dict() and (folder / "model.safetensors").stat().st_mtime_ns == written
    assert all(torch.equal(weight, pruned.state_dict()[name]) for name, weight in model.state_dict().items())


def test_weights_that_the_masks_do_not_fit_are_not_saved(in_python, tmp_path):
    dense, processor = atv.load("bundled")
    said = r"its mask of .* prunes weights that are not zero; is the report this model's\?"
    with pytest.raises(ValueError, match=said):
        atv.save(tmp_path, dense, processor, in_python[3])
    assert not (tmp_path / "config.json").exists()


def test_evaluation_and_its_card(by_command, in_python, tmp_path):
    told = ["--split", "dev", "--groups", "1"]
    assert main(["evaluate", "--model", str(by_command), *told, "--output", str(tmp_path / "command")]) == 0
    model, processor = atv.load(by_command)
    asked = atv.questions(split="dev", groups=1)
    found = atv.evaluate(model, processor, asked, output=tmp_path / "python")
    assert_same(tmp_path / "python", tmp_path / "command")
    card = atv.renew_card(str(in_python[0]), str(tmp_path / "python" / "scores.json"))
    assert card.scores["reading"].score == 100 * found.tasks["reading"].score
    assert main(["card", str(by_command), "--scores", str(tmp_path / "command" / "scores.json")]) == 0
    assert_same(in_python[0], by_command)


def test_fine_tuning(by_command, pool, tmp_path):
    told = ["--calibration", pool, "--samples", "4", "--validation", "2", "--epochs", "1", "--batch_size", "2"]
    assert main(["finetune", str(by_command), "--output", str(tmp_path / "command"), *told]) == 0
    settings, state = atv.FinetuningSettings(epochs=1, batch_size=2), torch.get_rng_state()
    outcome = atv.finetune(by_command, tmp_path / "python", pool, samples=4, validation=2, settings=settings)
    assert outcome.steps == 2 and torch.equal(torch.get_rng_state(), state)
    assert_same(tmp_path / "python", tmp_path / "command")
    assert atv.finetune(by_command, tmp_path / "python", pool, samples=4, validation=2, settings=settings) is None


@pytest.mark.parametrize("command", ["prune", "finetune", "quantize"])
def test_samples_that_a_model_reads_otherwise_together_are_refused_before_an_output_is_begun(
    command, by_command, pool, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("atv.model.positions.PICTURES_COUNT", ("llava",))
    of = ["--model", "bundled"] if command == "prune" else [str(by_command)]
    asked = [command, *of, "--output", str(tmp_path / "out"), "--calibration", pool, "--samples", "4"]
    asked += ["--batch_size", "2", *(["--validation", "2"] if command == "finetune" else [])]
    assert main(asked) == 2
    assert "batch_size: transformers' llava reads prompts" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()


def test_verification_names_what_was_changed(by_command, in_python, tmp_path):
    found = atv.verify(by_command, "bundled", max_new_tokens=0)
    assert found["generation"] == "skipped" and "holds in every mask" in found["pattern"]
    with pytest.raises(VerificationError, match="differs from the base model's"):
        other, processor = atv.load("bundled")
        other.model.multi_modal_projector.linear_1.bias.data += 1
        other.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        atv.verify(by_command, tmp_path, max_new_tokens=0)


def test_a_batch_of_none_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(ValueError, match="batch_size"):
        atv.evaluate(None, None, batch_size=0, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
