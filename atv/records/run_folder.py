"""The folder of a pruning run: its identity, its finished blocks and its outcome.

run.json                       settings and digests of model and data, which keep different runs out; folder schema
allocation.json                sparsity of each Linear
blocks/000.safetensors, .json  masks and changed weights of a finished block; the json, written last, has the checksum
masks.safetensors, report.json outcome
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atv.records.files import atomic, clear_abandoned, is_empty, is_temporary, read_json, writable, write_json
from atv.records.masks import PackedMasks
from atv.records.pruning_report import AllocationReport, BlockReport, PruningReport
from atv.records.typed import typed

# Scratch of an offloaded model: weights that were converted during loading, and hidden states that wait on disk.
OFFLOADED, WAITING = ".offload", ".waiting"
# Incremented when an unfinished run of the previous schema can no longer be resumed.
SCHEMA = 1


@dataclass(frozen=True)
class FinishedBlock:
    """A finished block: masks by pathway, changed values by names that the command chooses, and the report."""

    report: BlockReport
    masks: dict[str, PackedMasks]
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Manifest:
    """The JSON of a saved block: ``shapes`` has its masks' shapes by pathway, ``weights`` the names of changed ones."""

    checksum: str
    report: BlockReport
    shapes: dict[str, dict[str, list[int]]]
    weights: list[str]

    @property
    def tensors(self) -> set[str]:
        """The names of the tensors in the block's file."""
        masks = {f"{pathway}/{name}" for pathway, shapes in self.shapes.items() for name in shapes}
        return masks | {f"weight/{name}" for name in self.weights}


class RunFolder:
    """Saves every finished block of a run, so that a killed run resumes where it stopped.

    Args:
        folder: folder of the run; created when the run begins.
        identity: what distinguishes the run from others: settings, and digests of model and data.

    Raises:
        ValueError: if nothing can be written there, or the folder holds a different run; the message says what differs.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder, self.identity = writable(folder, "run_dir"), plain(identity)
        if is_run(self.folder):
            recorded_run = read_json(self.folder / "run.json", SCHEMA)
            if differing_fields := list(differences(recorded_run.get("identity") or {}, self.identity)):
                raise ValueError(f"run_dir: {str(folder)!r} holds another run: {'; '.join(differing_fields)}")
        elif self.saved:
            raise ValueError(f"run_dir: {str(folder)!r} holds a model that no run saved there; choose another folder")

    def begin(self) -> None:
        """Marks the folder as this run's, and removes the temporary files of killed processes."""
        clear_abandoned(self.folder, ".*", "blocks/.*", f"{WAITING}/*")
        write_json(self.folder / "run.json", {"schema": SCHEMA, "identity": self.identity})

    def forget(self) -> None:
        """Removes the run's identity after a failure, so that a different run may use the folder."""
        (self.folder / "run.json").unlink(missing_ok=True)

    def read_allocation(self) -> AllocationReport | None:
        """Returns the saved sparsity of each Linear, or None if there is none yet."""
        file = self.folder / "allocation.json"
        return typed(AllocationReport, read_json(file, SCHEMA), file) if file.is_file() else None

    def write_allocation(self, allocation: AllocationReport) -> None:
        """Saves the sparsity of each Linear."""
        write_json(self.folder / "allocation.json", asdict(allocation))

    def read_blocks(self) -> list[FinishedBlock]:
        """Reads the saved blocks, from the first up to a missing or corrupt one; a warning names a corrupt file."""
        blocks: list[FinishedBlock] = []
        while self._file(len(blocks), "json").is_file():
            try:
                blocks.append(self.read_block(len(blocks)))
            except (ValueError, OSError, SafetensorError) as error:
                corrupt = self._file(len(blocks), "safetensors")
                warnings.warn(f"{corrupt} is corrupt ({error}): resuming from the block before it", stacklevel=2)
                break
        return blocks

    def read_block(self, block: int) -> FinishedBlock:
        """Reads a saved block.

        Raises:
            ValueError, OSError, SafetensorError: if its files are missing or corrupt.
        """
        manifest = typed(_Manifest, read_json(self._file(block, "json"), SCHEMA), self._file(block, "json"))
        content = self._file(block, "safetensors")
        if _checksum(content) != manifest.checksum:
            raise ValueError("its checksum does not match its manifest")
        if manifest.report.block != block:
            raise ValueError(f"its manifest is for block {manifest.report.block}")
        with safe_open(content, "pt") as file:
            if unnamed_tensors := set(file.keys()) - manifest.tensors:
                raise ValueError(f"its manifest does not name {min(unnamed_tensors)}")
            masks = {
                pathway: PackedMasks.of_packed({name: file.get_tensor(f"{pathway}/{name}") for name in shapes}, shapes)
                for pathway, shapes in manifest.shapes.items()
            }
            weights = {name: file.get_tensor(f"weight/{name}") for name in manifest.weights}
        return FinishedBlock(manifest.report, masks, weights)

    def write_block(self, block: FinishedBlock) -> None:
        """Writes a finished block; the block counts as saved once its manifest exists."""
        tensors = {f"weight/{name}": weight for name, weight in block.weights.items()}
        for pathway, masks in block.masks.items():
            tensors |= {f"{pathway}/{name}": packed for name, packed in masks.packed.items()}
        content = self._file(block.report.block, "safetensors")
        with atomic(content) as path:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        shapes = {pathway: masks.shapes for pathway, masks in block.masks.items()}
        manifest = _Manifest(_checksum(content), block.report, shapes, list(block.weights))
        write_json(self._file(block.report.block, "json"), asdict(manifest))

    def write_outcome(self, report: PruningReport) -> None:
        """Writes masks.safetensors (one file per pathway if they are decoupled) and report.json."""
        report.write_masks(self.folder)
        report.write(self.folder)

    @property
    def saved(self) -> bool:
        """Whether the whole model was saved here, in which case the blocks have been removed."""
        return (self.folder / "config.json").is_file()

    def _file(self, block: int, kind: str) -> Path:
        return self.folder / "blocks" / f"{block:03d}.{kind}"


def run_folder(folder: str | Path, field: str) -> Path:
    """Returns a folder after checking that a run may write its outcome there; it need not exist.

    Raises:
        ValueError: if nothing can be written there, or the folder holds files that are not from a run.
    """
    folder = writable(folder, field)
    if not is_empty(folder) and not is_run(folder):
        raise ValueError(
            f"{field}: {str(folder)!r} is not empty and holds no run of this command; choose another folder"
        )
    return folder


def is_run(folder: Path) -> bool:
    """Returns whether a run was started in the folder."""
    return (folder / "run.json").is_file()


def clear_blocks(folder: Path) -> None:
    """Removes a run's finished blocks and scratch files, once the outcome and the model are written.

    In a folder without a run, nothing is removed.
    """
    if not is_run(folder):
        return
    for name in ("blocks", WAITING, OFFLOADED):
        shutil.rmtree(folder / name, ignore_errors=True)
    for file in filter(is_temporary, folder.glob(".*")):
        file.unlink(missing_ok=True)


def _checksum(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def plain(value: Any) -> Any:
    """Returns a value after a round trip through JSON; objects are replaced by the names of their classes."""
    return json.loads(json.dumps(value, default=lambda unserializable: type(unserializable).__name__))


def differences(recorded: Any, current: Any, at: str = "") -> Iterator[str]:
    """Yields one phrase for each field, at any depth, in which two sets of settings differ."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        for key in sorted(recorded.keys() | current.keys()):
            yield from differences(recorded.get(key), current.get(key), f"{at}.{key}" if at else key)
    elif recorded != current:
        yield f"{at} is {_brief(recorded)} there and {_brief(current)} here"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
