"""Models larger than the device: blocks live on the CPU or on disk and visit the device for their stage alone.

transformers loads such a model and accelerate's hooks fetch each weight when its module is called. Here a block's
weights stay on the device from its observation until every sample has left it, and its pruned weights go straight into
a shard of the output, from which the hooks fetch them from then on.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from atv.model.checkpoint import CheckedFolder, check_folder, load_whole
from atv.model.config_files import write_configs
from atv.model.lvlm import LVLM
from atv.records.digests import content_digest, telling, weights_digest
from atv.records.files import atomic, write_json, writer
from atv.records.run_folder import WAITING, is_run

Offload = Literal["cpu", "disk"]
Changed = Callable[[int, dict[str, Tensor]], dict[str, Tensor]]
SHARD_BYTES = 2 << 30
# The weights outside of the blocks.
_REST = "model-rest{suffix}.safetensors"
_BLOCKS = "model-block-"
_INDEX = "model.safetensors.index.json"


def load_offloaded(
    folder: Path, offload: Offload, device: torch.device, scratch: Path, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The model of a folder with its decoder blocks on the CPU or memory-mapped from disk, all else on ``device``.

    Weights that transformers converts while it loads (fused experts, say) are written to ``scratch``.

    Raises:
        ValueError: for offloading to the CPU where that is the device already, or a folder whose model is quantized,
            not whole, or none that can be loaded.
    """
    if offload == "cpu" and device.type == "cpu":
        raise ValueError("offload: blocks are on the CPU already; choices here: disk, or none")
    checked = check_folder(folder, trust_remote_code)
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(checked.config, trust_remote_code=trust_remote_code)
    blocks = LVLM.of(skeleton).blocks_name
    places: dict[str, Any] = {**dict.fromkeys(_beside(skeleton, blocks), str(device)), blocks: offload}
    return load_mapped(checked, places, scratch)


def load_mapped(checked: CheckedFolder, places: dict[str, str], scratch: Path) -> PreTrainedModel:
    """The model of a folder with its modules at their ``places``, "disk" for memory-mapped; see ``load_whole``.

    Raises:
        ValueError: also for a memory-mapped weight of another shape than the model's, which transformers lets pass.
    """
    model = load_whole(checked, device_map=places, offload_folder=scratch)
    for module, hook in _hooks(model):
        for name, weight in module.named_parameters(recurse=False):
            if weight.device.type == "meta" and (shape := _stored_shape(hook, name)) not in (None, list(weight.shape)):
                full = f"{hook.weights_map.prefix}{name}"
                raise ValueError(
                    f"model: {full} is {shape} in {str(checked.folder)!r}, its config.json says {list(weight.shape)}"
                )
    return model


def is_offloaded(model: nn.Module) -> bool:
    """Whether some of the model's weights are elsewhere until they are needed."""
    return any(hook.offload for _, hook in _hooks(model))


def stored(model: nn.Module, name: str) -> Tensor:
    """A weight by its full name, wherever it is."""
    module, _, parameter = name.rpartition(".")
    value = model.get_parameter(name)
    if value.device.type != "meta":
        return value
    return next(hook for _, hook in _hooks(model.get_submodule(module), deep=False)).weights_map[parameter]


def model_digests(model: PreTrainedModel) -> dict[str, str]:
    """By what a run knows its model again: digests of its weights, wherever they are, and of its config."""
    weights = ((name, stored(model, name)) for name, _ in model.named_parameters())
    return {"model": weights_digest(weights), "config": content_digest(telling(model.config.to_dict()))}


def read_as(model: nn.Module, change: Callable[[str, Tensor], Tensor]) -> None:
    """Has every weight that is elsewhere read as ``change`` makes it of its full name and values, whoever reads it."""
    for _, hook in _hooks(model):
        if hook.weights_map is not None and not isinstance(hook.weights_map.dataset, _Changed):
            hook.weights_map.dataset = _Changed(hook.weights_map.dataset, change)


class OffloadedBlocks:
    """The blocks of an offloaded model, and the shards in ``folder`` that take them once they are pruned."""

    def __init__(self, lvlm: LVLM, folder: Path) -> None:
        self.lvlm, self.folder = lvlm, folder
        self.on_disk = "disk" in getattr(lvlm.model, "hf_device_map", {}).values()

    def bring(self, block: int) -> None:
        """Loads a block's weights to the device, to stay there."""
        for module, hook in _hooks(self.lvlm.blocks[block]):
            if hook.offload:
                hook.pre_forward(module)
                hook.offload = False

    def write_block(self, block: int) -> None:
        """Writes the shard of a block that is on the device."""
        weights = self.lvlm.blocks[block].state_dict(prefix=f"{self.lvlm.blocks_name}.{block}.")
        _write(self._shard(block), weights)

    def has_shard(self, block: int) -> bool:
        """Whether a block was written before."""
        return self._shard(block).is_file() or self._smaller(block).is_file()

    def point_to_shard(self, block: int) -> None:
        """Lets a stored block be fetched from its shard; of a smaller one its forward will say that it does not fit."""
        prefix = f"{self.lvlm.blocks_name}.{block}."
        # Another rank may be writing the shard still; a smaller one takes its place once the model was saved.
        saved = self._smaller(block).is_file() and not self._shard(block).is_file()
        shard = self._smaller(block) if saved else self._shard(block)
        for name, value in self.lvlm.blocks[block].state_dict(prefix=prefix).items():
            place = {"safetensors_file": str(shard), "weight_name": name}
            for loader in self._loaders(block):
                loader.state_dict.pop(name, None)
                loader.index[name] = place | {"dtype": str(value.dtype).removeprefix("torch.")}

    def leave_device(self, block: int) -> None:
        """After a block was pruned and stored: its predecessor, or the last block itself, is needed no more."""
        self.point_to_shard(block)
        if block:
            self._send_back(block - 1)
        if block + 1 == len(self.lvlm.blocks):
            self._send_back(block)
        _trim_heap()

    def waiting_file(self, batch: int) -> Path | None:
        """Where a batch's hidden state waits; None for the CPU's memory."""
        return self.folder / WAITING / f"{writer()}-{batch}" if self.on_disk else None

    def _send_back(self, block: int) -> None:
        for module, hook in _hooks(self.lvlm.blocks[block]):
            if not hook.offload and hook.weights_map is not None:
                hook.offload = True
                hook.post_forward(module, None)

    def write_rest(self, config: PreTrainedConfig | None = None, changed: Changed | None = None) -> None:
        """Writes the weights outside of the blocks, the index of all shards, code and configs, config.json last.

        Args:
            config: the model's, where it is no longer its own.
            changed: what blocks hold instead, given a block and its tensors; they get shards of their own, and the
                others go in the end.
        """
        model, blocks = self.lvlm.model, range(len(self.lvlm.blocks))
        shards_of = [self._shard(block) if changed is None else self._changed(block, changed) for block in blocks]
        for earlier in self.folder.glob(_REST.format(suffix="*")):
            earlier.unlink()
        places = {name: shard.name for shard in shards_of for name in _tensors(shard)}
        own = {name for block in blocks for name in self._names(block)}
        tied = getattr(model, "all_tied_weights_keys", {})
        rest = {name: value for name, value in model.state_dict().items() if name not in own and name not in tied}
        shards = split_torch_state_dict_into_shards(rest, filename_pattern=_REST, max_shard_size=SHARD_BYTES)
        for file, names in shards.filename_to_tensors.items():
            _write(self.folder / file, {name: _whole(model, name, rest[name]) for name in names})
            places |= dict.fromkeys(names, file)
        write_json(self.folder / _INDEX, {"metadata": {}, "weight_map": places})
        write_configs(self.folder, model, config or model.config)
        for block, shard in enumerate(shards_of):
            if shard != self._shard(block):
                self._shard(block).unlink(missing_ok=True)
            if not _tensors(shard):
                shard.unlink()

    def _changed(self, block: int, changed: Changed) -> Path:
        """The shard of what a block holds instead."""
        if self._shard(block).is_file():
            with safe_open(self._shard(block), "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _write(self._smaller(block), changed(block, tensors))
        return self._smaller(block)

    def _names(self, block: int) -> Iterable[str]:
        return self.lvlm.blocks[block].state_dict(prefix=f"{self.lvlm.blocks_name}.{block}.")

    def _smaller(self, block: int) -> Path:
        return self.folder / f"{_BLOCKS}{block:05d}-smaller.safetensors"

    def _shard(self, block: int) -> Path:
        return self.folder / f"{_BLOCKS}{block:05d}.safetensors"

    def _loaders(self, block: int) -> Iterator[Any]:
        maps = {id(hook.weights_map): hook.weights_map for _, hook in _hooks(self.lvlm.blocks[block])}
        loaders = {id(prefixed.dataset): prefixed.dataset for prefixed in maps.values() if prefixed is not None}
        yield from loaders.values()


def has_shards(folder: Path) -> bool:
    """Whether blocks of an offloaded model lie there."""
    return any(folder.glob(f"{_BLOCKS}*.safetensors"))


def clear_shards(folder: Path) -> None:
    """Removes what a start of a run with an offloaded model wrote of it, once the model was saved there as a whole.

    In a folder that is no run's nothing is touched.
    """
    if not is_run(folder):
        return
    index = folder / _INDEX
    if index.is_file() and _BLOCKS in index.read_text():
        index.unlink()
    for pattern in (f"{_BLOCKS}*.safetensors", _REST.format(suffix="*")):
        for shard in folder.glob(pattern):
            shard.unlink()


class _Changed(Mapping[str, Tensor]):
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
    """Of a weight that lies in a safetensors file."""
    place = getattr(hook.weights_map.dataset, "index", {}).get(f"{hook.weights_map.prefix}{name}", {})
    if "safetensors_file" not in place:
        return None
    with safe_open(place["safetensors_file"], "pt") as file:
        return list(file.get_slice(place["weight_name"]).get_shape())


def _trim_heap() -> None:
    """Gives freed memory back to the system where the C library is glibc.

    It keeps what large temporaries, such as scores, leave between the small masks that stay: block by block, up to the
    size of the model.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _beside(model: nn.Module, blocks: str, at: str = "") -> Iterator[str]:
    """The modules and parameters that together are all of the model but its blocks."""
    for name, module in [*model.named_children(), *model.named_parameters(recurse=False)]:
        full = f"{at}{name}"
        if blocks.startswith(f"{full}.") and isinstance(module, nn.Module):
            yield from _beside(module, blocks, f"{full}.")
        elif full != blocks:
            yield full


def _hooks(root: nn.Module, deep: bool = True) -> Iterator[tuple[nn.Module, AlignDevicesHook]]:
    """Every module with each of its hooks that move weights."""
    for module in root.modules() if deep else [root]:
        hook = getattr(module, "_hf_hook", None)
        for one in hook.hooks if isinstance(hook, SequentialHook) else [hook]:
            if isinstance(one, AlignDevicesHook):
                yield module, one


def _whole(model: nn.Module, name: str, value: Tensor) -> Tensor:
    return stored(model, name) if value.device.type == "meta" else value


def _tensors(shard: Path) -> list[str]:
    with safe_open(shard, "pt") as file:
        return list(file.keys())


def _write(file: Path, weights: dict[str, Tensor]) -> None:
    with atomic(file) as path:
        save_file({name: value.contiguous() for name, value in weights.items()}, path, {"format": "pt"})
