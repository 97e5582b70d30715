"""Made folders are whole or absent."""

import errno
import json
import shutil
from collections import namedtuple

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.models.bit import BitImageProcessorPil

from atv.everyday.assembly import made_folder
from atv.everyday.assembly.__main__ import UPDATES
from atv.everyday.assembly.made_folder import DIGEST, MANIFEST, Source, check_folder, write_folder
from atv.everyday.assembly.trained_updates import read_updates
from atv.model import loading
from atv.records.digests import model_digest, whole_digest

SOURCES = [Source("language", "tiny.gguf", "12ab", "its makers", "Free."), Source("vision", "tiny.onnx")]


@pytest.fixture(scope="module")
def written(model_and_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "model"
    write_folder(*model_and_processor, folder, SOURCES)
    return folder


@pytest.fixture
def made(written, tmp_path):
    return shutil.copytree(written, tmp_path / "made")


def others(folder):
    return [file.name for file in folder.parent.iterdir() if file != folder]


def test_an_ordinary_folder(written, model_and_processor):
    model, processor = loading.load_model(written)
    assert model_digest(model) == model_digest(model_and_processor[0]) == check_folder(written).digest
    assert type(processor.image_processor) is BitImageProcessorPil
    assert model.dtype == torch.float32 and model.config.vision_feature_layer == -1
    assert model.generation_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert AutoProcessor.from_pretrained(written).chat_template == model_and_processor[1].chat_template
    read = AutoModelForImageTextToText.from_pretrained(written)
    assert read.lm_head.weight is read.get_input_embeddings().weight
    assert read.lm_head.weight.shape[0] == model.config.image_token_id + 1
    assert not others(written)


def test_the_manifest_says_what_it_is_made_of(written):
    manifest = json.loads((written / MANIFEST).read_text())
    assert manifest["sources"] == [
        {"part": "language", "origin": "tiny.gguf", "sha256": "12ab", "about": "its makers"},
        {"part": "vision", "origin": "tiny.onnx", "sha256": None, "about": None},
    ]
    assert set(manifest["files"]) == {file.name for file in written.iterdir()} - {MANIFEST}
    assert (written / "LICENSE-language").read_text() == "Free."


def test_one_digest_of_names_shapes_and_bits():
    weights = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([0.0])}
    digest = whole_digest(weights, weights.get)
    assert digest == whole_digest(reversed(weights), weights.get)
    for other in (
        {"a": weights["a"], "c": weights["b"]},
        {"a": weights["a"].T, "b": weights["b"]},
        {"a": weights["a"], "b": torch.tensor([-0.0])},
        {"a": weights["a"].view(torch.int32), "b": weights["b"]},
        {"a": weights["b"], "b": weights["a"]},
    ):
        assert whole_digest(other, other.get) != digest


def test_a_missing_and_a_changed_file(made):
    config = made / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ValueError, match=r"made' is damaged: config.json differs from what was written"):
        check_folder(made)
    (made / "model.safetensors").unlink()
    config.write_text(config.read_text()[:-1])
    with pytest.raises(ValueError, match=r"made' is incomplete: model.safetensors is missing"):
        check_folder(made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is incomplete or was not written by atv: it has no manifest.json"),
        ('{"format": 2}', "has format 2; this version of atv reads 1"),
        ('{"format": 1}', "has a damaged manifest.json"),
        ("{", "has a damaged manifest.json"),
        ("[]", "has a damaged manifest.json"),
    ],
)
def test_manifests_that_are_none(made, content, message):
    (made / MANIFEST).unlink()
    if content is not None:
        (made / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match=message):
        check_folder(made)


def test_somebody_elses_folder_is_left_alone(model_and_processor, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"^output: .*mine' holds other files"):
        write_folder(*model_and_processor, tmp_path / "mine", SOURCES)
    with pytest.raises(ValueError, match=r"^output: .*notes.txt' is a file"):
        write_folder(*model_and_processor, tmp_path / "mine" / "notes.txt", SOURCES)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_a_made_folder_is_replaced_and_what_a_kill_left_is_removed(made, model_and_processor, tmp_path):
    (made / "config.json").unlink()
    (tmp_path / ".made.writing").mkdir()
    (tmp_path / ".made.writing" / "model.safetensors").write_text("half")
    write_folder(*model_and_processor, made, SOURCES)
    check_folder(made)
    assert not others(made)


def test_nothing_is_left_of_a_write_that_failed(made, model_and_processor, monkeypatch):
    model, processor = model_and_processor

    def full(self, folder):
        (folder / "tokenizer.json").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(processor), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(model, processor, made, SOURCES)
    with pytest.raises(OSError, match="No space left"):
        write_folder(model, processor, made.with_name("new"), SOURCES)
    check_folder(made)
    assert not others(made)


def test_a_disk_that_is_too_small_is_known_before_anything_is_written(model_and_processor, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2, 1, 10**6))
    with pytest.raises(ValueError, match=r"^output: .* needs 0.01 GB more, but only 0.00 GB are free"):
        write_folder(*model_and_processor, tmp_path / "new", SOURCES)
    assert not list(tmp_path.iterdir())


def test_the_name_everyday_is_where_the_model_lies(made, cache, monkeypatch):
    with pytest.raises(
        ValueError, match=r"^model: everyday has not been built yet .*everyday-1'\); run `make everyday-model`"
    ):
        loading.model_folder("everyday")
    cache.mkdir(parents=True)
    in_cache = shutil.copytree(made, cache / "everyday-1")
    monkeypatch.setattr(made_folder, "DIGEST", check_folder(made).digest)
    assert loading.model_folder("everyday") == in_cache
    monkeypatch.setenv("ATV_EVERYDAY", str(made))
    assert loading.model_folder("everyday") == made


def test_the_name_everyday_refuses_other_models_and_halves_of_one(made, monkeypatch):
    monkeypatch.setenv("ATV_EVERYDAY", str(made))
    monkeypatch.setattr(made_folder, "DIGEST", "ab" * 32)
    with pytest.raises(ValueError, match=r"^model: .* has abababababab; run `make everyday-model` again"):
        loading.model_folder("everyday")
    (made / "config.json").unlink()
    message = r"^model: .* is incomplete: config.json is missing; run `make everyday-model`"
    with pytest.raises(ValueError, match=message):
        loading.model_folder("everyday")


def test_they_make_the_model_of_this_version():
    updates = read_updates(UPDATES)
    assert updates.merged == DIGEST
    assert set(updates.base) == {"language", "vision"} and updates.recipe["command"]


def test_they_are_small_and_finite():
    assert UPDATES.stat().st_size < 25e6
    updates = read_updates(UPDATES)
    assert all(part.isfinite().all() for factors in updates.factors.values() for part in vars(factors).values())
    assert all(value.isfinite().all() for value in updates.replaced.values())
