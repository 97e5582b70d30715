"""Checks that a folder written by `atv quantize` holds the packed words and scales that its record describes."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import safe_open
from torch import Tensor

from atv.model.lvlm import LVLM
from atv.model.weight_files import header, weight_files
from atv.quantization.packed_folder import quantization_config
from atv.quantization.whole_numbers import grids
from atv.records.quantization_record import QUANTIZATION, QuantizationRecord
from atv.verification.saved_model import VerificationError

_WORDS, _SCALE, _SHAPE = "weight_packed", "weight_scale", "weight_shape"


@dataclass(frozen=True)
class QuantizedChecks:
    """The record of a quantized folder, and the number of its packed weights by shape (out, in)."""

    folder: Path
    record: QuantizationRecord
    packed: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Reads a folder and checks its packed tensors; returns None if its weights are floats.

        Raises:
            VerificationError: if a tensor of a packed weight is missing or wrong; the message names it.
        """
        if not (folder / QUANTIZATION).is_file():
            return None
        record, files = QuantizationRecord.read(folder), _files(folder)
        linears = [name.removesuffix(f".{_WORDS}") for name in files if name.endswith(f".{_WORDS}")]
        bits, group_size = record.settings["bits"], record.settings["group_size"]
        return cls(folder, record, Counter(_checked_shape(linear, files, bits, group_size) for linear in linears))

    def changed(self, lvlm: LVLM) -> set[str]:
        """Returns the parameters that rounding or channel scales may have changed."""
        feeders = {name: lvlm.model.get_submodule(name) for name in self.record.scaled}
        scaled = {
            f"{name}.{parameter}"
            for name, module in feeders.items()
            for parameter, _ in module.named_parameters(recurse=False)
        }
        return scaled | {f"{name}.weight" for name in self.record.settings["targets"]}

    @property
    def size(self) -> str:
        """The size of the weight files, in words."""
        return f"{sum(file.stat().st_size for file in weight_files(self.folder)) / 1e6:.1f} MB packed"

    def check(self, lvlm: LVLM) -> str:
        """Checks the format against the record and describes it; ``lvlm`` is the model as transformers loads it.

        Raises:
            VerificationError: if the record does not match; the message names the Linear or the field of config.json.
        """
        targets, bits, group_size = (self.record.settings[name] for name in ("targets", "bits", "group_size"))
        if unknown := [name for name in targets if name not in lvlm.linears]:
            raise VerificationError(f"{QUANTIZATION} names {unknown[0]}, but the model has no such Linear")
        linear_grids = grids({name: lvlm.linears[name] for name in targets}, bits, group_size)
        self._check_config(quantization_config(linear_grids, group_size == "row"))
        expected = Counter(
            (linear.out_features, linear.in_features) for linear in map(lvlm.linears.__getitem__, targets)
        )
        if self.packed != expected:
            actual, recorded = dict(self.packed), dict(expected)
            raise VerificationError(f"packed weights by (out, in) are {actual}, but {QUANTIZATION} names {recorded}")
        return (
            f"{len(linear_grids)} Linears in {bits} bits, "
            f"one scale per {'row' if group_size == 'row' else f'{group_size} weights of a row'}"
        )

    def _check_config(self, expected: Mapping[str, Any]) -> None:
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8")).get("quantization_config", {})
        for field, value in expected.items():
            if config.get(field) != value:
                raise VerificationError(f"config.json: its quantization_config.{field} does not match {QUANTIZATION}")


def _files(folder: Path) -> dict[str, Path]:
    """Returns the file of each tensor, by the tensor's name in that file."""
    files: dict[str, Path] = {}
    for file in weight_files(folder):
        files |= dict.fromkeys((name for name, *_ in header(file)), file)
    return files


def _read_tensor(name: str, files: Mapping[str, Path]) -> Tensor:
    if name not in files:
        raise VerificationError(f"{name} is not in any file")
    with safe_open(files[name], "pt") as tensors:
        return tensors.get_tensor(name)


def _checked_shape(linear: str, files: Mapping[str, Path], bits: int, group_size: int | str) -> tuple[int, int]:
    """Returns the shape (out, in) of a packed weight, after checking that its words and scales fit it."""
    words, scale, shape = (_read_tensor(f"{linear}.{suffix}", files) for suffix in (_WORDS, _SCALE, _SHAPE))
    out, width = shape.tolist()
    groups = width // (width if isinstance(group_size, str) else group_size)
    for suffix, tensor, per_row in ((_WORDS, words, -(-width * bits // 32)), (_SCALE, scale, groups)):
        if list(tensor.shape) != [out, per_row]:
            raise VerificationError(
                f"{linear}.{suffix} has shape {list(tensor.shape)}, a weight of {out} x {width} needs {[out, per_row]}"
            )
    if not bool(((scale > 0) & scale.isfinite()).all()):
        raise VerificationError(f"{linear}.{_SCALE} holds a scale that is not a finite number above 0")
    return out, width
