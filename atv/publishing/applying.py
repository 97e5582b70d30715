"""Applies published masks to a fresh base model, which restores the pruned model."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from atv.model.loading import load_processor, model_folder
from atv.model.lvlm import View, kept_places, targets_by_parameter
from atv.model.offload import read_as
from atv.output.pruned_folder import write_pruned
from atv.publishing.packed_masks import DELTA, DELTA_FORMAT, PROCESSOR, patched
from atv.records.digests import whole_digest
from atv.records.files import empty_folder
from atv.records.masks import PackedMasks, masks_origin
from atv.records.pruning_report import MASKS, REPORT, PruningReport
from atv.verification.saved_model import SavedModel, opened
from atv.verification.weight_checks import check_names


def apply_masks(
    folder: str | Path, output: str | Path, base: str | Path, *, trust_remote_code: bool = False
) -> PruningReport:
    """Restores a pruned model from published masks and their base model, with every tensor identical bit for bit.

    Args:
        folder: folder of published masks, as ``pack_masks`` writes it.
        output: folder to write the pruned model to: new or empty.
        base: the model that the masks were made on: a folder, hub id, or "bundled". One shard of it at a time is in
            memory.
        trust_remote_code: whether code that comes with the model may run.

    Returns:
        The report of the run that made the masks.

    Raises:
        ValueError: if the folder lacks masks or their origin, the base model is a different one, or the output is not
            empty.
    """
    source, dense, target = Path(folder), model_folder(str(base)), empty_folder(output, "output")
    origin, report = _origin(source), PruningReport.read(source)
    saved_processor = source / PROCESSOR
    processor = load_processor(saved_processor if saved_processor.is_dir() else dense, trust_remote_code)
    with opened(dense, trust_remote_code) as fresh:
        require_origin(fresh, origin, str(base))
        check_names(report.masks, report.masks.shapes, report.targets, fresh.lvlm)
        install(fresh, report.masks, source / DELTA)
        if whole_digest(fresh.tensors, fresh.tensor) != origin["becomes"]:
            raise ValueError(f"folder: {str(source)!r} does not restore the model it was packed from; fetch it again")
        return write_pruned(target, fresh.lvlm.model, processor, report)


def require_origin(model: SavedModel, origin: dict[str, str], base: str) -> None:
    """Checks that masks were made on this model.

    Raises:
        ValueError: if they were not; the message names both models and what differs.
    """
    revision = f" at revision {origin['revision']}" if origin["revision"] else ""
    expected_model = f"the masks were made on {origin['model']!r}{revision}"
    if (kind := type(model.lvlm.model).__name__) != origin["class"]:
        raise ValueError(f"base: {base!r} is a {kind}, but {expected_model}, a {origin['class']}")
    if (digest := whole_digest(model.tensors, model.tensor)) != origin["digest"]:
        raise ValueError(
            f"base: {base!r} is a different model: the SHA-256 of its weights begins with {digest[:12]}, "
            f"but {expected_model}, whose SHA-256 begins with {origin['digest'][:12]}"
        )


@torch.no_grad()
def install(model: SavedModel, masks: PackedMasks, updates: Path) -> None:
    """Turns the base model into the pruned one: weights in memory in place, weights in files whenever they are read.

    ``updates`` is the path of the delta, which need not exist.

    Raises:
        ValueError: if the delta is broken, has a different format, or belongs to a different model.
    """
    pruning = _Pruning(targets_by_parameter(model.lvlm), masks, updates, _changed_names(updates, model.tensors))
    read_as(model.lvlm.model, pruning.of)
    for name, value in model.tensors.items():
        if value.device.type != "meta":
            value.copy_(pruning.of(name, value))


@dataclass(frozen=True)
class _Pruning:
    """Computes pruned weights from the base model's; ``updated`` names those that the delta in ``updates`` changes."""

    views: Mapping[str, Mapping[str, View]]
    masks: PackedMasks
    updates: Path
    updated: frozenset[str]

    def of(self, name: str, value: Tensor) -> Tensor:
        """Returns the pruned model's values of a weight, in the same shape."""
        kept = kept_places(value, self.views.get(name, {}), self.masks)
        pruned = value.masked_fill(~kept, 0)
        if name not in self.updated:
            return pruned
        with safe_open(self.updates, "pt") as file:
            packed = file.get_tensor(name)
        try:
            return pruned.masked_scatter(kept, patched(value[kept], packed))
        except ValueError as error:
            raise ValueError(f"{self.updates}: {name}: {error}") from error


def _changed_names(updates: Path, known_names: Container[str]) -> frozenset[str]:
    """Returns the names in a delta; empty if there is no such file."""
    if not updates.is_file():
        return frozenset()
    try:
        with safe_open(updates, "pt") as file:
            delta_format, names = (file.metadata() or {}).get("format"), frozenset(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{updates} is broken: {error}") from error
    if delta_format != DELTA_FORMAT:
        raise ValueError(f"{updates}: expected format {DELTA_FORMAT}, got {delta_format!r}")
    if unknown_names := sorted(name for name in names if name not in known_names):
        raise ValueError(f"{updates} belongs to a different model: the base model has no {unknown_names[0]}")
    return names


def _origin(folder: Path) -> dict[str, str]:
    """Reads which model a folder's masks were made on.

    Raises:
        ValueError: if ``pack_masks`` did not write the folder.
    """
    if missing := [name for name in (MASKS, REPORT) if not (folder / name).is_file()]:
        raise ValueError(f"folder: {str(folder)!r} holds no published masks: it has no {', '.join(missing)}")
    origin = masks_origin(folder / MASKS)
    if not {"model", "revision", "class", "digest", "becomes"} <= origin.keys():
        raise ValueError(
            f"folder: {str(folder / MASKS)!r} does not say which model its masks were made on; `atv masks pack` writes "
            "masks that do"
        )
    return origin
