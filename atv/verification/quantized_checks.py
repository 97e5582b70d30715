"""Whether a folder that `atv quantize` wrote holds the words and scales that its record promises."""

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
    """What a quantized folder's record says of it, and how many weights of each (out, in) are packed there."""

    folder: Path
    record: QuantizationRecord
    packed: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """None for a folder whose weights are floats.

        Raises:
            VerificationError: naming the first tensor of a packed weight that is absent or not as it should be.
        """
        if not (folder / QUANTIZATION).is_file():
            return None
        record, files = QuantizationRecord.read(folder), _files(folder)
        linears = [name.removesuffix(f".{_WORDS}") for name in files if name.endswith(f".{_WORDS}")]
        bits, size = record.settings["bits"], record.settings["group_size"]
        return cls(folder, record, Counter(_checked_shape(linear, files, bits, size) for linear in linears))

    def changed(self, lvlm: LVLM) -> set[str]:
        """The parameters that rounding, or scales of channels, may have changed."""
        feeders = {name: lvlm.model.get_submodule(name) for name in self.record.scaled}
        scaled = {
            f"{name}.{own}" for name, module in feeders.items() for own, _ in module.named_parameters(recurse=False)
        }
        return scaled | {f"{name}.weight" for name in self.record.settings["targets"]}

    @property
    def size(self) -> str:
        """What the files of weights take, in words."""
        return f"{sum(file.stat().st_size for file in weight_files(self.folder)) / 1e6:.1f} MB packed"

    def check(self, lvlm: LVLM) -> str:
        """What was found of the format; ``lvlm`` is what transformers makes of it.

        Raises:
            VerificationError: naming the Linear, or the field of config.json, that is not as the record says.
        """
        targets, bits, size = (self.record.settings[name] for name in ("targets", "bits", "group_size"))
        if unknown := [name for name in targets if name not in lvlm.linears]:
            raise VerificationError(f"{QUANTIZATION} names {unknown[0]}, and the model has no such Linear")
        made = grids({name: lvlm.linears[name] for name in targets}, bits, size)
        self._check_config(quantization_config(made, size == "row"))
        expected = Counter(
            (linear.out_features, linear.in_features) for linear in map(lvlm.linears.__getitem__, targets)
        )
        if self.packed != expected:
            here, named = dict(self.packed), dict(expected)
            raise VerificationError(f"packed weights by (out, in) are {here}, and {QUANTIZATION} names {named}")
        return f"{len(made)} Linears in {bits} bits, one scale for {'a row' if size == 'row' else f'{size} of a row'}"

    def _check_config(self, expected: Mapping[str, Any]) -> None:
        said = json.loads((self.folder / "config.json").read_text(encoding="utf-8")).get("quantization_config", {})
        for field, value in expected.items():
            if said.get(field) != value:
                raise VerificationError(f"config.json: its quantization_config.{field} is not what {QUANTIZATION} says")


def _files(folder: Path) -> dict[str, Path]:
    """Tensor -> the file that it is in, by its name there."""
    found: dict[str, Path] = {}
    for file in weight_files(folder):
        found |= dict.fromkeys((name for name, *_ in header(file)), file)
    return found


def _read(name: str, files: Mapping[str, Path]) -> Tensor:
    if name not in files:
        raise VerificationError(f"{name} is in no file")
    with safe_open(files[name], "pt") as opened:
        return opened.get_tensor(name)


def _checked_shape(linear: str, files: Mapping[str, Path], bits: int, size: int | str) -> tuple[int, int]:
    """The (out, in) of a packed weight, whose words and scales are as many as that takes."""
    words, scale, shape = (_read(f"{linear}.{part}", files) for part in (_WORDS, _SCALE, _SHAPE))
    out, width = shape.tolist()
    groups = width // (width if isinstance(size, str) else size)
    for part, tensor, per_row in ((_WORDS, words, -(-width * bits // 32)), (_SCALE, scale, groups)):
        if list(tensor.shape) != [out, per_row]:
            raise VerificationError(
                f"{linear}.{part} is {list(tensor.shape)}, a weight of {out} x {width} takes {[out, per_row]}"
            )
    if not bool(((scale > 0) & scale.isfinite()).all()):
        raise VerificationError(f"{linear}.{_SCALE} holds a scale that is no finite number above 0")
    return out, width
