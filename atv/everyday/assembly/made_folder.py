"""The folder that ``make everyday-model`` writes: where it lies, an ordinary model with a manifest, whole or absent."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

from atv.bundled.architecture import save_processor
from atv.everyday.assembly.download import cache_folder
from atv.records.digests import file_digest, model_digest
from atv.records.files import require_space, writable

FORMAT = 1
MANIFEST = "manifest.json"
# Tokenizer, configs and licences.
_SMALL_FILES = 8 * 2**20
EVERYDAY = "everyday"
VERSION = 1
# Of all weights of this version's model, on every machine.
DIGEST: str | None = "aa3e2b47139bbe773e755d9d97566022728bda3e9c48070ee7c775afc6667cf4"
_HOW = "run `make everyday-model`"


@dataclass(frozen=True)
class Source:
    """Something that the model was made of.

    Attributes:
        part: "language", "vision" or "updates".
        origin: the wheel, file, folder or hub id that it came from.
        sha256: of that file; None for folders.
        about: whose it is, and under which licence, where that is known.
        licence: its text, a file of the folder.
    """

    part: str
    origin: str
    sha256: str | None = None
    about: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What a made folder says of itself.

    Attributes:
        format: of the folder; another version of atv may write another.
        digest: one of all weights, equal on every machine.
        files: SHA-256 of every other file.
        sources: what it was made of.
    """

    format: int
    digest: str
    files: dict[str, str]
    sources: list[dict[str, Any]]


def write_folder(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    folder: Path,
    sources: Sequence[Source],
) -> Manifest:
    """Writes model, processor and manifest; a folder that was made before is replaced, when all else is done.

    Raises:
        ValueError: when the folder is somebody else's, cannot be written, or the disk is full; nothing is left then.
    """
    require_own(folder)
    with _whole(folder) as fresh:
        weights = sum(weight.numel() * weight.itemsize for weight in model.parameters())
        require_space(fresh, weights + _SMALL_FILES, "output")
        model.save_pretrained(fresh)
        save_processor(processor, fresh)
        for source in sources:
            if source.licence is not None:
                (fresh / f"LICENSE-{source.part}").write_text(source.licence)
        files = {file.name: file_digest(file) for file in sorted(fresh.iterdir())}
        said = [{key: value for key, value in asdict(source).items() if key != "licence"} for source in sources]
        manifest = Manifest(FORMAT, model_digest(model), files, said)
        (fresh / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    return manifest


def check_folder(folder: Path) -> Manifest:
    """Reads a made folder's manifest and checks every file against it.

    Raises:
        ValueError: for a folder of another format, or a file that is missing or not what was written.
    """
    manifest = read_manifest(folder)
    for name, digest in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{str(folder)!r} is not whole: {name} is missing")
        if file_digest(file) != digest:
            raise ValueError(f"{str(folder)!r} is not whole: {name} is not what was written")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """What a made folder says of itself, its files unread.

    Raises:
        ValueError: for a folder without a manifest, or with one of another format.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"{str(folder)!r} is of format {content['format']}; this version of atv reads {FORMAT}")
        return Manifest(**content)
    except FileNotFoundError as error:
        raise ValueError(f"{str(folder)!r} is not whole, or was not made by atv: it has no {MANIFEST}") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{str(folder)!r} has a damaged {MANIFEST}: {error}") from error


def require_own(folder: Path) -> None:
    """Checks that writing would replace nothing but what was made before.

    Raises:
        ValueError: for a folder with other files, or a file.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ValueError(f"output: {str(folder)!r} holds other files; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output: {str(folder)!r} is a file; choose another folder")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A fresh folder beside ``folder`` that takes its place, safe on disk, when the block ends without an error."""
    writable(folder.parent, "output")
    fresh, old = (folder.with_name(f".{folder.name}.{state}") for state in ("writing", "old"))
    # A killed run may have left them.
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        _synced(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def _synced(folder: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    for path in (*folder.iterdir(), folder):
        if path.is_file():
            # safetensors writes private files.
            path.chmod(0o666 & ~mask)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def everyday_folder() -> Path:
    """``$ATV_EVERYDAY``, else a folder in atv's cache that carries the model's version."""
    given = os.environ.get("ATV_EVERYDAY")
    return Path(given) if given else cache_folder() / f"{EVERYDAY}-{VERSION}"


def made_model() -> Path:
    """The folder of the everyday model, each of its files checked.

    Raises:
        ValueError: when it was not made yet, is not whole, or is another version's.
    """
    folder = everyday_folder()
    if not folder.is_dir():
        raise ValueError(f"model: {EVERYDAY} is not made yet (no folder {str(folder)!r}); {_HOW}")
    try:
        manifest = check_folder(folder)
    except ValueError as error:
        raise ValueError(f"model: {error}; {_HOW} again") from error
    if DIGEST is not None and manifest.digest != DIGEST:
        raise ValueError(
            f"model: {str(folder)!r} holds a model of digest {manifest.digest[:12]}, where version {VERSION} of "
            f"{EVERYDAY} has {DIGEST[:12]}; {_HOW} again, or give the folder itself as --model"
        )
    return folder


def made_already() -> Manifest | None:
    """The manifest of this version's model, where it lies in its place and is whole."""
    try:
        return read_manifest(made_model()) if DIGEST else None
    except ValueError:
        return None
