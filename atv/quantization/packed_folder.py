"""The folder of a quantized model: integers packed into 32-bit words, as the library compressed-tensors reads them."""

import json
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from atv.output.model_card import FIGURE
from atv.quantization.whole_numbers import Quantized, RoundingGrid
from atv.records.files import saved_atomically, write_json
from atv.records.page_parts import markdown
from atv.records.pruning_report import MASKS, REPORT
from atv.records.quantization_record import QuantizationRecord

LIBRARY = "compressed_tensors"
FORMAT = "pack-quantized"


def require_library() -> None:
    """Checks that the library that packs integers is installed.

    Raises:
        ValueError: if it is not; the message says how to install it.
    """
    if find_spec(LIBRARY) is None:
        raise ValueError("quantize: the format needs the library compressed-tensors: pip install 'atv[quantization]'")


def packed(
    tensors: Mapping[str, Tensor], weights: Mapping[str, Quantized], grids: Mapping[str, RoundingGrid]
) -> dict[str, Tensor]:
    """Returns a model's or block's tensors by their names in memory, with packed words, scales and shapes in place of
    the quantized weights."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    state = dict(tensors)
    for name, quantized_weight in weights.items():
        del state[f"{name}.weight"]
        state[f"{name}.weight_packed"] = pack_to_int32(quantized_weight.whole, grids[name].bits)
        state[f"{name}.weight_scale"] = quantized_weight.scale
        state[f"{name}.weight_shape"] = torch.tensor(quantized_weight.whole.shape)
    return state


def packed_bytes(weights: Mapping[str, Tensor], grids: Mapping[str, RoundingGrid]) -> int:
    """Returns the number of bytes that packed words, scales and shapes of weights (out, in) take."""
    total = 0
    for name, weight in weights.items():
        (out, width), grid = weight.shape, grids[name]
        words, scales, shape = 4 * -(-width * grid.bits // 32), weight.itemsize * (width // grid.width), 2 * 8
        total += out * (words + scales) + shape
    return total


def quantization_config(grids: Mapping[str, RoundingGrid], by_row: bool) -> dict[str, Any]:
    """Returns the ``quantization_config`` of config.json: the Linears, by their names in memory, and their grid."""
    (bits,) = {grid.bits for grid in grids.values()}
    weights: dict[str, Any] = {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False}
    if by_row:
        weights |= {"strategy": "channel"}
    else:
        (width,) = {grid.width for grid in grids.values()}
        weights |= {"strategy": "group", "group_size": width}
    group = {"targets": list(grids), "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group | {"format": FORMAT}},
        "ignore": [],
    }


def write_quantized(
    folder: Path,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    config: dict[str, Any],
    record: QuantizationRecord,
    source: Path,
    state: dict[str, Tensor] | None,
) -> None:
    """Writes a quantized model's folder, config.json last, with the masks and report of a pruned ``source``.

    ``state`` holds the model's tensors. If None, neither they nor config.json are written; ``finish_folder`` does this
    for an offloaded model.
    """

    def write(target: Path) -> None:
        if state is not None:
            model.save_pretrained(target, state_dict=state)
            model_config = json.loads((target / "config.json").read_text())
            write_json(target / "config.json", model_config | {"quantization_config": config})
        processor.save_pretrained(target)
        for name in (MASKS, REPORT, FIGURE):
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
        record.write(target)
        (target / "README.md").write_text(card(record), encoding="utf-8")

    saved_atomically(folder, write)


def card(record: QuantizationRecord) -> str:
    """Returns the text of README.md."""
    settings = record.settings
    group_size = settings["group_size"]
    facts = {
        "made from": record.model,
        "bits per weight": settings["bits"],
        "weights that share a scale": "a row" if group_size == "row" else f"{group_size} of a row",
        "method": json.dumps(settings["method"]),
        "selection of calibration tokens": json.dumps(settings["selection"]),
        "bytes of all tensors": f"{record.bytes['after']:,} (before: {record.bytes['before']:,})",
    }
    errors = [(kind, f"{100 * error:.3f}") for kind, error in record.by_kind().items()]
    sections = [
        "---\nlibrary_name: transformers\npipeline_tag: image-text-to-text",
        "tags: [atv, quantized, compressed-tensors]\n---\n",
        f"# {record.model.rstrip('/').rpartition('/')[2]} in {settings['bits']} bits\n",
        "The Linears of its decoder are integers with scales (compressed-tensors, pack-quantized), which transformers "
        "loads if compressed-tensors is installed. Weights that pruning set to zero are exactly zero.\n",
        markdown(["", ""], facts.items()),
        "\n## Error of the outputs on the calibration pool, % of their squares\n",
        markdown(["kind of Linear", "mean"], errors),
    ]
    return "\n".join(sections) + "\n"
