"""Files that are either whole or absent, and the masks' format."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from atv.report import PruningReport

MASK_FORMAT = "atv-masks/1"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _readable(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Atomically, indented, floats in full."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def writable(folder: str | Path, field: str) -> Path:
    """The folder, made if need be.

    Raises:
        ValueError: when nothing can be written there.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ValueError(f"{field}: cannot write to {str(folder)!r}: {error}") from error


def save_masks(path: Path, masks: Mapping[str, Tensor]) -> None:
    """Bool masks (out, in) as uint8 (out, ceil(in / 8)), little bit order, zero padded; shapes in the metadata."""
    packed = {
        name: torch.from_numpy(np.packbits(mask.numpy(), axis=1, bitorder="little")) for name, mask in masks.items()
    }
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    with atomic(path) as temporary:
        save_file(packed, temporary, {"format": MASK_FORMAT, "shapes": json.dumps(shapes)})


def load_masks(path: str | Path) -> dict[str, Tensor]:
    """The masks that ``save_masks`` wrote: name -> bool (out, in).

    Raises:
        ValueError: for a file of another format.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != MASK_FORMAT:
            raise ValueError(f"{path}: expected format {MASK_FORMAT}, got {metadata.get('format')!r}")
        shapes = json.loads(metadata["shapes"])
        return {name: _unpack(file.get_tensor(name), shape[1]) for name, shape in shapes.items()}


def _unpack(packed: Tensor, width: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=1, count=width, bitorder="little")).bool()


def save_run(folder: Path, report: PruningReport) -> None:
    """masks.safetensors (one a pathway where they are decoupled) and report.json."""
    if report.pathways:
        for name, pathway in report.pathways.items():
            save_masks(folder / f"masks.{name}.safetensors", pathway.masks)
    else:
        save_masks(folder / "masks.safetensors", report.masks)
    write_json(folder / "report.json", report.as_dict())


def saved_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a fresh folder, then moves each of its files into ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        write(Path(name))
        for file in sorted(Path(name).iterdir()):
            _readable(file)
            os.replace(file, folder / file.name)


def _readable(file: Path) -> None:
    """Gives a temporary file, private when made, the mode that an ordinary new file would have."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)
