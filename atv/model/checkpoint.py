"""Whether a folder holds the model that its config describes: whole, not quantized, and nothing besides.

transformers fills what a checkpoint lacks with random numbers and drops what it has no place for, with a warning at
most. Here either is an error, and so is a quantized weight, whose numbers mean nothing without its scales.
"""

import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    CompressedTensorsConfig,
    PreTrainedConfig,
    PreTrainedModel,
    __version__,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from atv.data.wording import short
from atv.model.dequantizing import parted_weights_as_floats
from atv.model.generation_file import GENERATION, check_generation
from atv.model.weight_files import header, weight_files

_INSTEAD = "cannot be pruned; give the model that it was made from, with weights in bfloat16, float16 or float32"
# How the tensors are called that quantizers put in a weight's place, or beside it.
_QUANTIZED_NAMES = frozenset(
    [
        "qweight",
        "qzeros",
        "weight_packed",
        "weight_scale",
        "weight_scale_inv",
        "weight_scale_2",
        "weight_zero_point",
        "absmax",
        "SCB",
    ]
)
_FLOATS = ("F64", "F32", "BF16", "F16")
# What older releases of transformers wrote of a model, and newer ones compute.
_COMPUTED = frozenset({"inv_freq", "position_ids"})
_ADAPTER = "adapter_config.json"
# What transformers reads beside the weights, and takes for missing, or half of it, where it cannot be read.
_READ = (
    *(GENERATION, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("processor_config.json", "preprocessor_config.json"),
)


@dataclass(frozen=True)
class CheckedFolder:
    """A folder that ``check_folder`` found sound: its config, and how many numbers its files of weights hold."""

    folder: Path
    config: PreTrainedConfig
    numbers: int
    trust_remote_code: bool


def check_folder(folder: Path, trust_remote_code: bool = False) -> CheckedFolder:
    """Reads a folder's config and the headers of its files of weights.

    Raises:
        ValueError: for a config that is broken, quantized or not of an LVLM, an adapter beside the model, a file of
            weights that is missing or broken, two sets of them, or a quantized tensor; the message names file, field or
            tensor.
    """
    _check_config(folder / "config.json", trust_remote_code)
    for name in _READ:
        if (folder / name).exists():
            content = _config_of(folder / name)
            if name == GENERATION:
                check_generation(content, folder / name)
    if (folder / _ADAPTER).is_file():
        raise ValueError(
            f"model: {str(folder)!r} holds an adapter ({_ADAPTER}) beside the model, which would be left out; merge it "
            "into the weights, or take its files away"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:
        raise ValueError(f"model: {folder / 'config.json'} cannot be read: {short(error)}") from error
    numbers = 0
    for file in weight_files(folder):
        for name, dtype, count in header(file):
            numbers += count
            if dtype.startswith(("F8", "F6_", "F4")) or name.rsplit(".", 1)[-1] in _QUANTIZED_NAMES:
                raise ValueError(f"model: {file}: {name} ({dtype}) is of a quantized checkpoint, which {_INSTEAD}")
            if name.endswith(".weight") and dtype not in _FLOATS:
                raise ValueError(f"model: {file}: {name} holds {dtype}: a quantized checkpoint {_INSTEAD}")
    return CheckedFolder(folder, config, numbers, trust_remote_code)


def load_whole(checked: CheckedFolder, **options: Any) -> PreTrainedModel:
    """The model of a folder in the dtype that its config names, safetensors only; ``options`` as ``from_pretrained``'s.

    Raises:
        ValueError: for a folder whose config describes more than twice what it holds, that lacks a tensor of the model
            or has one too many, whose tied tensors differ, that holds NaN or infinite numbers, or that cannot be
            loaded.
    """
    _check_size(checked)
    return _loaded(checked.folder, checked.trust_remote_code, options)


def _check_size(checked: CheckedFolder) -> None:
    """Refuses a config of a much larger model, before it fills the memory with random numbers: a missing text_config
    stands for one of 7 B parameters."""
    try:
        with torch.device("meta"), _quiet():
            described = AutoModelForImageTextToText.from_config(
                checked.config, trust_remote_code=checked.trust_remote_code
            )
    except Exception:
        # What makes no model without weights says why when it is loaded.
        return
    told = sum(parameter.numel() for parameter in described.parameters())
    if checked.numbers and told > 2 * checked.numbers:
        raise ValueError(
            f"model: {checked.folder / 'config.json'} describes {told / 1e6:,.1f} M parameters, and the files of "
            f"weights hold {checked.numbers / 1e6:,.1f} M; a part of either is missing"
        )


def load_dequantized(folder: Path, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model of a folder that ``atv quantize`` wrote, each weight the product of its whole number and scale.

    Raises:
        ValueError: for a folder in another format, or one that lacks a tensor of the model or cannot be loaded.
    """
    said = _config_of(folder / "config.json").get("quantization_config") or {}
    if (found := (said.get("quant_method"), said.get("format"))) != ("compressed-tensors", "pack-quantized"):
        raise ValueError(f"model: {str(folder)!r} is quantized as {found}; only what `atv quantize` writes is read")
    with warnings.catch_warnings(), parted_weights_as_floats():
        # That config.json has such a field as well.
        warnings.filterwarnings("ignore", message="You passed `quantization_config`")
        try:
            how = CompressedTensorsConfig(dequantize=True)
        except ImportError as error:
            raise ValueError("model: it needs compressed-tensors: pip install 'atv[quantization]'") from error
        return _loaded(folder, trust_remote_code, {"quantization_config": how})


def _loaded(folder: Path, trust_remote_code: bool, options: dict[str, Any]) -> PreTrainedModel:
    settings: dict[str, Any] = {"use_safetensors": True, "dtype": "auto", "local_files_only": True}
    settings |= {"trust_remote_code": trust_remote_code, "output_loading_info": True, "ignore_mismatched_sizes": True}
    with _quiet():
        try:
            loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, **settings | options)
        except Exception as error:
            if _of_the_machine(error):
                raise
            reason = short(f"{type(error).__name__}: {error}")
            raise ValueError(f"model: {str(folder)!r} cannot be loaded: {reason}") from error
    model, found = loaded
    kind = type(model).__name__
    for name, stored, wanted in sorted(found["mismatched_keys"], key=str):
        raise ValueError(f"model: {name} is {list(stored)} in {str(folder)!r}, its config.json says {list(wanted)}")
    _refuse(found["missing_keys"], f"model: {str(folder)!r} lacks", f"of {kind}; its download or save was cut short")
    own = _COMPUTED | {name.rsplit(".", 1)[-1] for name in _computed_buffers(model)}
    extra = [name for name in found["unexpected_keys"] if name.rsplit(".", 1)[-1] not in own]
    _refuse(extra, f"model: {str(folder)!r} holds", f"that {kind} has no place for")
    require_floats(model)
    _require_tied(model, folder)
    _require_finite(model, folder)
    return model.eval()


def require_floats(model: PreTrainedModel) -> None:
    """Checks that no weight is quantized.

    Raises:
        ValueError: naming the quantizer, or the first parameter whose numbers have fewer than 16 bits.
    """
    method = getattr(getattr(model, "hf_quantizer", None), "quantization_config", None)
    if method is not None:
        raise ValueError(f"model: it is quantized ({type(method).__name__}) and {_INSTEAD}")
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and torch.finfo(parameter.dtype).bits >= 16:
            continue
        # A Linear of a quantizing library keeps whole numbers; other parameters of whole numbers are counts or codes.
        if parameter.dim() > 1:
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(f"model: {name} is {dtype}: a quantized model {_INSTEAD}")


def _require_tied(model: PreTrainedModel, folder: Path) -> None:
    """Tensors that are one by the config, and two in the file: transformers keeps both, other engines drop one."""
    for one, other in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        pair = model.get_parameter(one), model.get_parameter(other)
        there = all(weight.device.type != "meta" for weight in pair)
        if pair[0] is not pair[1] and there and not torch.equal(*pair):
            raise ValueError(
                f"model: by its config.json (tie_word_embeddings) {one} is {other}, and {str(folder)!r} holds two that "
                "differ; set tie_word_embeddings to false if they are meant to"
            )


def _require_finite(model: PreTrainedModel, folder: Path) -> None:
    """A sum tells, at a fraction of the cost; weights that wait on disk show it when their block runs."""
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta" or parameter.detach().sum(dtype=torch.float64).isfinite():
            continue
        raise ValueError(f"model: {name} in {str(folder)!r} holds NaN or infinite numbers; fetch or save it again")


def _config_of(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_number)
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"model: {file} cannot be read: {short(error)}") from error
    if not isinstance(config, dict):
        raise ValueError(f"model: {file} must map names to values, it holds a {type(config).__name__}")
    return config


def _number(constant: str) -> float:
    """Infinity is a bound in some configs; NaN is nothing anywhere."""
    if constant == "NaN":
        raise ValueError("it holds NaN, which is no number")
    return float(constant)


def _check_config(file: Path, trust_remote_code: bool) -> None:
    config = _config_of(file)
    for field, settings in _quantizations(config):
        method = settings.get("quant_method") or settings.get("format") or "some method"
        raise ValueError(f"model: {file}: {field} says that its weights are quantized ({method}), so it {_INSTEAD}")
    kind = config.get("model_type")
    known = kind in CONFIG_MAPPING and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if not known and not (trust_remote_code and config.get("auto_map")):
        raise ValueError(
            f"model: {file}: model_type {short(repr(kind), 60)} is no image-text-to-text type of transformers "
            f"{__version__}; `atv models` lists what was tried"
        )


def _quantizations(config: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that says how weights are quantized, in the config and the configs in it."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            if name in ("quantization_config", "compression_config"):
                yield f"{at}{name}", value
            else:
                yield from _quantizations(value, f"{at}{name}.")


def _computed_buffers(model: PreTrainedModel) -> Iterator[str]:
    """Buffers that a model makes itself and does not save."""
    saved = model.state_dict().keys()
    return (name for name, _ in model.named_buffers() if name not in saved)


def _refuse(names: Iterable[str], what: str, why: str) -> None:
    if named := sorted(names):
        count = f"{len(named)} tensor{'s' if len(named) > 1 else ''}"
        raise ValueError(f"{what} {count} {why}: {short(named[0], 120)}{', ...' if len(named) > 1 else ''}")


def _of_the_machine(error: Exception) -> bool:
    """Whether memory or disk gave out, which is no fault of the folder."""
    if isinstance(error, OSError):
        return error.errno is not None
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back the tables of missing, unexpected and mismatched tensors that transformers logs."""

    def passes(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    log = logging.getLogger("transformers.modeling_utils")
    log.addFilter(passes)
    try:
        yield
    finally:
        log.removeFilter(passes)
