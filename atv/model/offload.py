"""Models larger than the device: blocks live on the CPU or on disk and are on the device only during their stage.

transformers loads such a model, and accelerate's hooks fetch each weight when its module is called. Here a block's
weights stay on the device from its observation until every sample has left it. Its pruned weights go straight into a
shard of the output, from which the hooks fetch them from then on.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedModel

from atv.model.checkpoint import CheckedFolder, check_folder, load_whole
from atv.model.lvlm import LVLM
from atv.records.digests import content_digest, weights_digest, without_origin

Offload = Literal["cpu", "disk"]


def load_offloaded(
    folder: Path, offload: Offload, device: torch.device, scratch: Path, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Loads a folder's model with its decoder blocks on the CPU or memory-mapped from disk, all else on ``device``.

    Weights that transformers converts while loading (such as fused experts) are written to ``scratch``.

    Raises:
        ValueError: if blocks are to be offloaded to the CPU but the device is the CPU, or if the folder's model is
            quantized, incomplete, or cannot be loaded.
    """
    if offload == "cpu" and device.type == "cpu":
        raise ValueError("offload: blocks are on the CPU already; choices here: disk, or none")
    checked = check_folder(folder, trust_remote_code)
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(checked.config, trust_remote_code=trust_remote_code)
    blocks_name = LVLM.of(skeleton).blocks_name
    device_map: dict[str, Any] = {
        **dict.fromkeys(_names_outside(skeleton, blocks_name), str(device)),
        blocks_name: offload,
    }
    return load_mapped(checked, device_map, scratch)


def load_mapped(checked: CheckedFolder, device_map: dict[str, str], scratch: Path) -> PreTrainedModel:
    """Loads a folder's model with its modules at their ``device_map``, "disk" for memory-mapped; see ``load_whole``.

    Raises:
        ValueError: also if a memory-mapped weight has a different shape than the model's, which transformers accepts.
    """
    model = load_whole(checked, device_map=device_map, offload_folder=scratch)
    for module, hook in loading_hooks(model):
        for name, weight in module.named_parameters(recurse=False):
            if weight.device.type == "meta" and (shape := _stored_shape(hook, name)) not in (
                None,
                list(weight.shape),
            ):
                full_name = f"{hook.weights_map.prefix}{name}"
                raise ValueError(
                    f"model: {full_name} is {shape} in {str(checked.folder)!r}, but config.json says "
                    f"{list(weight.shape)}"
                )
    return model


def is_offloaded(model: nn.Module) -> bool:
    """Whether some of the model's weights are kept off the device until they are needed."""
    return any(hook.offload for _, hook in loading_hooks(model))


def distinct_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns each parameter and persistent buffer once, tied ones under their first name, offloaded ones on meta."""
    tied = getattr(model, "all_tied_weights_keys", {})
    return {name: value for name, value in model.state_dict().items() if name not in tied}


def stored_weight(model: nn.Module, name: str) -> Tensor:
    """Returns a weight by its full name, wherever it is stored."""
    module, _, parameter = name.rpartition(".")
    value = model.get_parameter(name)
    if value.device.type != "meta":
        return value
    return next(hook for _, hook in loading_hooks(model.get_submodule(module), deep=False)).weights_map[parameter]


def model_digests(model: PreTrainedModel) -> dict[str, str]:
    """Returns what identifies a run's model: digests of its weights, wherever they are stored, and of its config."""
    weights = ((name, stored_weight(model, name)) for name, _ in model.named_parameters())
    return {"model": weights_digest(weights), "config": content_digest(without_origin(model.config.to_dict()))}


def read_as(model: nn.Module, change: Callable[[str, Tensor], Tensor]) -> None:
    """Passes every offloaded weight through ``change`` (full name, values) whenever it is read, whoever reads it."""
    for _, hook in loading_hooks(model):
        if hook.weights_map is not None and not isinstance(hook.weights_map.dataset, _ReadAs):
            hook.weights_map.dataset = _ReadAs(hook.weights_map.dataset, change)


def loading_hooks(root: nn.Module, deep: bool = True) -> Iterator[tuple[nn.Module, AlignDevicesHook]]:
    """Yields every module with each of accelerate's hooks that fetches its weights."""
    for module in root.modules() if deep else [root]:
        module_hook = getattr(module, "_hf_hook", None)
        for hook in module_hook.hooks if isinstance(module_hook, SequentialHook) else [module_hook]:
            if isinstance(hook, AlignDevicesHook):
                yield module, hook


class _ReadAs(Mapping[str, Tensor]):
    """Weights by name, each changed as it is read."""

    def __init__(self, weights: Mapping[str, Tensor], change: Callable[[str, Tensor], Tensor]) -> None:
        self.weights, self.change = weights, change

    def __getitem__(self, name: str) -> Tensor:
        return self.change(name, self.weights[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def _stored_shape(hook: AlignDevicesHook, name: str) -> list[int] | None:
    """Returns the shape of a weight in a safetensors file; None if it is stored elsewhere."""
    location = getattr(hook.weights_map.dataset, "index", {}).get(f"{hook.weights_map.prefix}{name}", {})
    if "safetensors_file" not in location:
        return None
    with safe_open(location["safetensors_file"], "pt") as file:
        return list(file.get_slice(location["weight_name"]).get_shape())


def _names_outside(model: nn.Module, blocks_name: str, prefix: str = "") -> Iterator[str]:
    """Yields the modules and parameters that together make up the model without its blocks."""
    for name, module in [*model.named_children(), *model.named_parameters(recurse=False)]:
        full_name = f"{prefix}{name}"
        if blocks_name.startswith(f"{full_name}.") and isinstance(module, nn.Module):
            yield from _names_outside(module, blocks_name, f"{full_name}.")
        elif full_name != blocks_name:
            yield full_name
