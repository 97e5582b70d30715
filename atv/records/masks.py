"""Masks packed to one bit per weight, in memory and on disk."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atv.records.files import atomic
from atv.records.typed import typed

MASK_FORMAT = "atv-masks/1"
# The eight bits of every byte, lowest first.
_BITS = torch.tensor([[byte >> bit & 1 for bit in range(8)] for byte in range(256)], dtype=torch.bool)


class PackedMask:
    """A mask (..., in) packed to one bit per entry, True = kept.

    Attributes:
        bits: uint8 (..., ceil(in / 8)), little bit order, zero padded.
        shape: Shape of the mask.
    """

    def __init__(self, mask: Tensor) -> None:
        packed = np.packbits(mask.cpu().contiguous().numpy(), axis=-1, bitorder="little")
        self.bits, self.shape = torch.from_numpy(packed), list(mask.shape)

    @classmethod
    def of_bits(cls, bits: Tensor, shape: list[int]) -> Self:
        """Creates a mask from its ``bits`` and ``shape``."""
        mask = cls.__new__(cls)
        mask.bits, mask.shape = bits, shape
        return mask

    def unpacked(self) -> Tensor:
        """Returns the unpacked bool mask, on the device of its bits."""
        unpacked = _BITS.to(self.bits.device)[self.bits.long()].flatten(-2)
        return unpacked[..., : self.shape[-1]].contiguous()

    @property
    def pruned(self) -> int:
        """Number of entries that are False, counted on the packed bits."""
        return math.prod(self.shape) - int(np.bitwise_count(self.bits.cpu().numpy()).sum())

    def cleared(self, values: Tensor) -> Tensor:
        """Returns ``values`` with exact zeros where the mask prunes, even in place of NaN."""
        # Moved only once. It is not a module's buffer because DDP would broadcast it before every forward.
        self.bits = self.bits.to(values.device)
        return values.masked_fill(~self.unpacked(), 0)


class PackedMasks(Mapping[str, Tensor]):
    """A mapping from Linear names to bool masks (out, in), True = kept; a mask is unpacked on access.

    Unpacked, the masks would take half as much memory as a model in bfloat16.
    """

    def __init__(self, masks: Mapping[str, Tensor] | None = None) -> None:
        self._packed: dict[str, PackedMask] = {}
        self.update(masks or {})

    def update(self, masks: Mapping[str, Tensor]) -> None:
        """Adds masks, replacing earlier ones of the same name."""
        if isinstance(masks, PackedMasks):
            self._packed |= masks._packed
            return
        self._packed |= {name: PackedMask(mask) for name, mask in masks.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._packed[name].unpacked()

    def __contains__(self, name: object) -> bool:
        return name in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    @property
    def packed(self) -> dict[str, Tensor]:
        """The packed masks by name: uint8 (out, ceil(in / 8)), little bit order, zero padded."""
        return {name: mask.bits for name, mask in self._packed.items()}

    @property
    def shapes(self) -> dict[str, list[int]]:
        return {name: mask.shape for name, mask in self._packed.items()}

    @classmethod
    def of_packed(cls, packed: Mapping[str, Tensor], shapes: Mapping[str, list[int]]) -> Self:
        """Creates masks from their bits and shapes, in the format of the properties ``packed`` and ``shapes``.

        Raises:
            ValueError: if the bits of a mask do not fit its shape.
        """
        masks = cls()
        for name, (rows, width) in shapes.items():
            if packed[name].dtype != torch.uint8 or list(packed[name].shape) != [rows, -(-width // 8)]:
                raise ValueError(f"the mask of {name} does not have the expected shape {shapes[name]}")
        masks._packed = {name: PackedMask.of_bits(packed[name], shape) for name, shape in shapes.items()}
        return masks

    @property
    def sparsity(self) -> float:
        """Share of entries that are pruned; 0 without masks."""
        total = sum(out * width for out, width in self.shapes.values())
        return self.pruned / total if total else 0.0

    @property
    def pruned(self) -> int:
        """Number of entries that are False, over all masks."""
        return sum(mask.pruned for mask in self._packed.values())


def overlap(masks_a: Mapping[str, Tensor], masks_b: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns the intersection over union of the weights that two sets of masks keep, by Linear name.

    The IoU is in [0, 1], and 1 for equal masks. Masks are compared packed; others are packed first, one at a time.

    Raises:
        ValueError: if only one of the sets has a Linear, or two masks have different shapes.
    """
    a, b = (masks if isinstance(masks, PackedMasks) else PackedMasks(masks) for masks in (masks_a, masks_b))
    if unshared := a.keys() ^ b.keys():
        raise ValueError(f"masks: {min(unshared)} is in only one of the two sets")
    for name, shape in a.shapes.items():
        if shape != b.shapes[name]:
            raise ValueError(f"masks: {name} has shape {shape} in one set and {b.shapes[name]} in the other")
    packed_a, packed_b = a.packed, b.packed
    return {name: _iou(packed.numpy(), packed_b[name].numpy()) for name, packed in packed_a.items()}


def random_overlap(kept_share: float, other_kept_share: float | None = None) -> float:
    """Returns the expected IoU of two random masks that each keep ``kept_share`` of the entries: 1/3 for a half.

    If the second mask keeps a different share, pass it as ``other_kept_share``.
    """
    other_kept = kept_share if other_kept_share is None else other_kept_share
    union = kept_share + other_kept - kept_share * other_kept
    return kept_share * other_kept / union if union else 1.0


def _iou(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Returns the intersection over union of packed bits; two masks that keep nothing are equal."""
    union = int(np.bitwise_count(a | b).sum())
    return int(np.bitwise_count(a & b).sum()) / union if union else 1.0


def save_masks(path: str | Path, masks: Mapping[str, Tensor], origin: Mapping[str, str] | None = None) -> None:
    """Writes bool masks (out, in) to a safetensors file, packed, with their shapes in the metadata.

    ``origin``, if given, describes what the masks were made on and is kept in the metadata, too.
    """
    masks = PackedMasks(masks)
    origin_metadata = {} if origin is None else {"origin": json.dumps(dict(origin))}
    with atomic(Path(path)) as temporary:
        save_file(
            masks.packed, temporary, {"format": MASK_FORMAT, "shapes": json.dumps(masks.shapes)} | origin_metadata
        )
        _order_header(temporary)


def _order_header(file: Path) -> None:
    """Sorts a safetensors file's metadata, whose order is arbitrary, so that equal masks give equal bytes."""
    with open(file, "r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        # The same text in a different order; spaces fill the rest of the header.
        if len(ordered) <= size:
            stream.seek(8)
            stream.write(ordered.ljust(size))


def load_masks(path: str | Path) -> PackedMasks:
    """Reads the masks that ``save_masks`` wrote.

    Raises:
        ValueError: if the file is incomplete, has a different format, or holds masks that do not fit its metadata.
    """
    with _opened(path) as (file, metadata):
        shapes = json.loads(metadata["shapes"])
        packed = {name: file.get_tensor(name) for name in shapes}
        return PackedMasks.of_packed(packed, shapes)


def masks_origin(path: str | Path) -> dict[str, str]:
    """Returns the ``origin`` that ``save_masks`` was given for a file's masks; empty if there was none.

    Raises:
        ValueError: if the file is incomplete or has a different format.
    """
    with _opened(path) as (_, metadata):
        return typed(dict[str, str], json.loads(metadata.get("origin", "{}")), Path(path))


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Opens a mask file and its metadata; any error, in the block too, becomes a ValueError that names the file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != MASK_FORMAT:
                raise ValueError(f"expected format {MASK_FORMAT}, got {metadata.get('format')!r:.60}")
            yield file, metadata
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a complete mask file: {error}") from error
