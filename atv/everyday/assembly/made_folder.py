"""The folder that ``make everyday-model`` writes: an ordinary model with a manifest, either complete or absent."""

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
# Bytes for the tokenizer, configs and licences.
_SMALL_FILES = 8 * 2**20
EVERYDAY = "everyday"
VERSION = 1
# Digest of all weights of this version's model, the same on every machine.
DIGEST: str | None = "aa3e2b47139bbe773e755d9d97566022728bda3e9c48070ee7c775afc6667cf4"
_HOW_TO_BUILD = "run `make everyday-model`"


@dataclass(frozen=True)
class Source:
    """One source of the model.

    Attributes:
        part: "language", "vision" or "updates".
        origin: the wheel, file, folder or hub id that the part came from.
        sha256: digest of that file; None for folders.
        about: owner and licence, if known.
        licence: text of the licence, which becomes a file of the folder.
    """

    part: str
    origin: str
    sha256: str | None = None
    about: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The manifest of a folder that was built.

    Attributes:
        format: format of the folder; a different version of atv may write a different one.
        digest: one digest of all weights, the same on every machine.
        files: SHA-256 of every other file.
        sources: what the model was made of.
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
    """Writes model, processor and manifest; an earlier folder is replaced only when everything else is done.

    Raises:
        ValueError: if the folder holds other files, cannot be written, or the disk is full; nothing is left behind.
    """
    require_own(folder)
    with _replacing(folder) as new_folder:
        weights = sum(weight.numel() * weight.itemsize for weight in model.parameters())
        require_space(new_folder, weights + _SMALL_FILES, "output")
        model.save_pretrained(new_folder)
        save_processor(processor, new_folder)
        for source in sources:
            if source.licence is not None:
                (new_folder / f"LICENSE-{source.part}").write_text(source.licence)
        files = {file.name: file_digest(file) for file in sorted(new_folder.iterdir())}
        source_entries = [
            {key: value for key, value in asdict(source).items() if key != "licence"} for source in sources
        ]
        manifest = Manifest(FORMAT, model_digest(model), files, source_entries)
        (new_folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    return manifest


def check_folder(folder: Path) -> Manifest:
    """Reads a folder's manifest and checks every file against it.

    Raises:
        ValueError: if the folder has a different format, or if a file is missing or differs from what was written.
    """
    manifest = read_manifest(folder)
    for name, digest in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{str(folder)!r} is incomplete: {name} is missing")
        if file_digest(file) != digest:
            raise ValueError(f"{str(folder)!r} is damaged: {name} differs from what was written")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads a folder's manifest, but none of its other files.

    Raises:
        ValueError: if the manifest is missing, damaged, or has a different format.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"{str(folder)!r} has format {content['format']}; this version of atv reads {FORMAT}")
        return Manifest(**content)
    except FileNotFoundError as error:
        raise ValueError(f"{str(folder)!r} is incomplete or was not written by atv: it has no {MANIFEST}") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{str(folder)!r} has a damaged {MANIFEST}: {error}") from error


def require_own(folder: Path) -> None:
    """Checks that writing would replace nothing except an earlier model.

    Raises:
        ValueError: if ``folder`` is a folder with other files, or a file.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ValueError(f"output: {str(folder)!r} holds other files; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output: {str(folder)!r} is a file; choose another folder")


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yields a new folder next to ``folder``, and lets it replace ``folder``, synced to disk, if no error is raised."""
    writable(folder.parent, "output")
    new_folder, old_folder = (folder.with_name(f".{folder.name}.{state}") for state in ("writing", "old"))
    # A killed run may have left these folders behind.
    for leftover in (new_folder, old_folder):
        shutil.rmtree(leftover, ignore_errors=True)
    new_folder.mkdir(parents=True)
    try:
        yield new_folder
        _sync(new_folder)
        if folder.exists():
            folder.rename(old_folder)
        new_folder.rename(folder)
    finally:
        for leftover in (new_folder, old_folder):
            shutil.rmtree(leftover, ignore_errors=True)


def _sync(folder: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    for path in (*folder.iterdir(), folder):
        if path.is_file():
            # safetensors writes files that only their owner may read.
            path.chmod(0o666 & ~umask)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def everyday_folder() -> Path:
    """Returns ``$ATV_EVERYDAY``, or else a folder in atv's cache whose name contains the model's version."""
    configured_folder = os.environ.get("ATV_EVERYDAY")
    return Path(configured_folder) if configured_folder else cache_folder() / f"{EVERYDAY}-{VERSION}"


def made_model() -> Path:
    """Returns the folder of the everyday model, after checking each of its files.

    Raises:
        ValueError: if the model has not been built yet, is incomplete, or belongs to a different version.
    """
    folder = everyday_folder()
    if not folder.is_dir():
        raise ValueError(f"model: {EVERYDAY} has not been built yet (no folder {str(folder)!r}); {_HOW_TO_BUILD}")
    try:
        manifest = check_folder(folder)
    except ValueError as error:
        raise ValueError(f"model: {error}; {_HOW_TO_BUILD} again") from error
    if DIGEST is not None and manifest.digest != DIGEST:
        raise ValueError(
            f"model: {str(folder)!r} holds a model with digest {manifest.digest[:12]}, but version {VERSION} of "
            f"{EVERYDAY} has {DIGEST[:12]}; {_HOW_TO_BUILD} again, or pass the folder itself as --model"
        )
    return folder


def made_already() -> Manifest | None:
    """Returns the manifest of this version's model, or None if the model is missing or incomplete."""
    try:
        return read_manifest(made_model()) if DIGEST else None
    except ValueError:
        return None
