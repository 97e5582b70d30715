"""Checks that a folder holds the model that its config describes: complete, not quantized, and nothing else.

transformers fills tensors that a checkpoint lacks with random numbers and drops those that it has no place for, with
a warning at most. Here both are errors, and so is a quantized weight, whose numbers mean nothing without its scales.
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

_ADVICE = "cannot be pruned; give the model that it was made from, with weights in bfloat16, float16 or float32"
# Names of the tensors that quantizers put in place of a weight, or beside it.
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
# Tensors that older releases of transformers saved, and newer ones compute.
_COMPUTED_NAMES = frozenset({"inv_freq", "position_ids"})
_ADAPTER = "adapter_config.json"
# Files that transformers reads beside the weights, and treats as missing, wholly or in part, if it cannot read them.
_FILES_BESIDE = (
    *(GENERATION, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("processor_config.json", "preprocessor_config.json"),
)


@dataclass(frozen=True)
class CheckedFolder:
    """A folder that passed ``check_folder``: its config, and the number of elements in its weight files."""

    folder: Path
    config: PreTrainedConfig
    numbers: int
    trust_remote_code: bool


def check_folder(folder: Path, trust_remote_code: bool = False) -> CheckedFolder:
    """Reads a folder's config and the headers of its weight files.

    Raises:
        ValueError: if the config is broken, quantized or not an LVLM's, an adapter lies beside the model, a weight file
            is missing or broken, there are two sets of weights, or a tensor is quantized; the message names the file,
            field or tensor.
    """
    _check_config(folder / "config.json", trust_remote_code)
    for name in _FILES_BESIDE:
        if (folder / name).exists():
            content = _read_config(folder / name)
            if name == GENERATION:
                check_generation(content, folder / name)
    if (folder / _ADAPTER).is_file():
        raise ValueError(
            f"model: {str(folder)!r} holds an adapter ({_ADAPTER}) beside the model, which would be left out; merge it "
            "into the weights, or remove its files"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:
        raise ValueError(f"model: {folder / 'config.json'} cannot be read: {short(error)}") from error
    element_count = 0
    for file in weight_files(folder):
        for name, dtype, count in header(file):
            element_count += count
            if dtype.startswith(("F8", "F6_", "F4")) or name.rsplit(".", 1)[-1] in _QUANTIZED_NAMES:
                raise ValueError(f"model: {file}: {name} ({dtype}) is from a quantized checkpoint, which {_ADVICE}")
            if name.endswith(".weight") and dtype not in _FLOATS:
                raise ValueError(f"model: {file}: {name} holds {dtype}: a quantized checkpoint {_ADVICE}")
    return CheckedFolder(folder, config, element_count, trust_remote_code)


def load_whole(checked: CheckedFolder, **options: Any) -> PreTrainedModel:
    """Loads a folder's model in its config's dtype, safetensors only; ``options`` are passed to ``from_pretrained``.

    Raises:
        ValueError: if the config describes more than twice what the folder holds, a tensor is missing or superfluous,
            tied tensors differ, a tensor holds NaN or infinite numbers, or the model cannot be loaded.
    """
    _check_size(checked)
    return _load_checked(checked.folder, checked.trust_remote_code, options)


def _check_size(checked: CheckedFolder) -> None:
    """Rejects a config of a much larger model, before it fills the memory with random numbers.

    A missing text_config means one of 7 B parameters.
    """
    try:
        with torch.device("meta"), _quiet():
            empty_model = AutoModelForImageTextToText.from_config(
                checked.config, trust_remote_code=checked.trust_remote_code
            )
    except Exception:
        # If no model can be built without weights, loading it will say why.
        return
    parameter_count = sum(parameter.numel() for parameter in empty_model.parameters())
    if checked.numbers and parameter_count > 2 * checked.numbers:
        raise ValueError(
            f"model: {checked.folder / 'config.json'} describes {parameter_count / 1e6:,.1f} M parameters, but "
            f"the weight files hold {checked.numbers / 1e6:,.1f} M; a part of either is missing"
        )


def load_dequantized(folder: Path, trust_remote_code: bool = False) -> PreTrainedModel:
    """Loads the model of a folder that ``atv quantize`` wrote; each weight is the product of its integer and scale.

    Raises:
        ValueError: if the folder has a different format, lacks a tensor of the model, or cannot be loaded.
    """
    settings = _read_config(folder / "config.json").get("quantization_config") or {}
    if (scheme := (settings.get("quant_method"), settings.get("format"))) != (
        "compressed-tensors",
        "pack-quantized",
    ):
        raise ValueError(f"model: {str(folder)!r} is quantized as {scheme}; expected what `atv quantize` writes")
    with warnings.catch_warnings(), parted_weights_as_floats():
        # The warning that config.json has this field as well.
        warnings.filterwarnings("ignore", message="You passed `quantization_config`")
        try:
            dequantizing = CompressedTensorsConfig(dequantize=True)
        except ImportError as error:
            raise ValueError("model: loading it needs compressed-tensors: pip install 'atv[quantization]'") from error
        return _load_checked(folder, trust_remote_code, {"quantization_config": dequantizing})


def _load_checked(folder: Path, trust_remote_code: bool, options: dict[str, Any]) -> PreTrainedModel:
    settings: dict[str, Any] = {"use_safetensors": True, "dtype": "auto", "local_files_only": True}
    settings |= {"trust_remote_code": trust_remote_code, "output_loading_info": True, "ignore_mismatched_sizes": True}
    with _quiet():
        try:
            loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, **settings | options)
        except Exception as error:
            if _is_machine_failure(error):
                raise
            reason = short(f"{type(error).__name__}: {error}")
            raise ValueError(f"model: {str(folder)!r} cannot be loaded: {reason}") from error
    model, report = loaded
    model_class = type(model).__name__
    for name, shape, expected in sorted(report["mismatched_keys"], key=str):
        raise ValueError(f"model: {name} is {list(shape)} in {str(folder)!r}, but config.json says {list(expected)}")
    _reject(
        report["missing_keys"],
        f"model: {str(folder)!r} lacks",
        f"of {model_class}; its download or save was cut short",
    )
    computed_names = _COMPUTED_NAMES | {name.rsplit(".", 1)[-1] for name in _computed_buffers(model)}
    extra_names = [name for name in report["unexpected_keys"] if name.rsplit(".", 1)[-1] not in computed_names]
    _reject(extra_names, f"model: {str(folder)!r} holds", f"that {model_class} has no place for")
    require_floats(model)
    _require_tied(model, folder)
    _require_finite(model, folder)
    return model.eval()


def require_floats(model: PreTrainedModel) -> None:
    """Checks that no weight is quantized.

    Raises:
        ValueError: if one is; the message names the quantizer, or the first parameter with fewer than 16 bits.
    """
    method = getattr(getattr(model, "hf_quantizer", None), "quantization_config", None)
    if method is not None:
        raise ValueError(f"model: it is quantized ({type(method).__name__}) and {_ADVICE}")
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and torch.finfo(parameter.dtype).bits >= 16:
            continue
        # Linears of quantization libraries hold integers; other integer parameters are counts or codes.
        if parameter.dim() > 1:
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(f"model: {name} is {dtype}: a quantized model {_ADVICE}")


def _require_tied(model: PreTrainedModel, folder: Path) -> None:
    """Rejects tensors that the config ties but the file has twice: transformers keeps both, other engines drop one."""
    for tied_name, source_name in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        weights = model.get_parameter(tied_name), model.get_parameter(source_name)
        in_memory = all(weight.device.type != "meta" for weight in weights)
        if weights[0] is not weights[1] and in_memory and not torch.equal(*weights):
            raise ValueError(
                f"model: its config.json (tie_word_embeddings) ties {tied_name} to {source_name}, but {str(folder)!r} "
                "holds two that differ; set tie_word_embeddings to false if they should differ"
            )


def _require_finite(model: PreTrainedModel, folder: Path) -> None:
    """Checks each parameter by its sum, at a fraction of the cost; weights on disk show it when their block runs."""
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta" or parameter.detach().sum(dtype=torch.float64).isfinite():
            continue
        raise ValueError(f"model: {name} in {str(folder)!r} holds NaN or infinite numbers; fetch or save it again")


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_finite_or_infinite)
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"model: {file} cannot be read: {short(error)}") from error
    if not isinstance(config, dict):
        raise ValueError(f"model: {file} must map names to values, but it holds a {type(config).__name__}")
    return config


def _finite_or_infinite(constant: str) -> float:
    """Accepts infinity, which is a bound in some configs; rejects NaN, which has no meaning in any."""
    if constant == "NaN":
        raise ValueError("it holds NaN, which is not a number")
    return float(constant)


def _check_config(file: Path, trust_remote_code: bool) -> None:
    config = _read_config(file)
    for field, settings in _quantizations(config):
        method = settings.get("quant_method") or settings.get("format") or "some method"
        raise ValueError(f"model: {file}: {field} says that its weights are quantized ({method}), so it {_ADVICE}")
    model_type = config.get("model_type")
    supported = model_type in CONFIG_MAPPING and model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if not supported and not (trust_remote_code and config.get("auto_map")):
        raise ValueError(
            f"model: {file}: model_type {short(repr(model_type), 60)} is not an image-text-to-text type of "
            f"transformers {__version__}; `atv models` lists the types that were tested"
        )


def _quantizations(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every field that says how weights are quantized, in the config and its nested configs."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            if name in ("quantization_config", "compression_config"):
                yield f"{prefix}{name}", value
            else:
                yield from _quantizations(value, f"{prefix}{name}.")


def _computed_buffers(model: PreTrainedModel) -> Iterator[str]:
    """Returns the names of buffers that a model computes and does not save."""
    saved = model.state_dict().keys()
    return (name for name, _ in model.named_buffers() if name not in saved)


def _reject(names: Iterable[str], subject: str, detail: str) -> None:
    if tensors := sorted(names):
        count = f"{len(tensors)} tensor{'s' if len(tensors) > 1 else ''}"
        raise ValueError(f"{subject} {count} {detail}: {short(tensors[0], 120)}{', ...' if len(tensors) > 1 else ''}")


def _is_machine_failure(error: Exception) -> bool:
    """Whether memory or disk failed, which is not the folder's fault."""
    if isinstance(error, OSError):
        return error.errno is not None
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the tables of missing, unexpected and mismatched tensors that transformers logs."""

    def passes(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    log = logging.getLogger("transformers.modeling_utils")
    log.addFilter(passes)
    try:
        yield
    finally:
        log.removeFilter(passes)
