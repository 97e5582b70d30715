"""The output folder of an offloaded model: a shard per block, written as soon as it is pruned, then the rest."""

import json
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from atv.model.lvlm import LVLM
from atv.model.offload import distinct_tensors, stored_weight
from atv.records.files import atomic, write_json
from atv.records.run_folder import is_run

# Returns the tensors that a block has in the saved model, given the block and its present tensors by name.
Rewrite = Callable[[int, dict[str, Tensor]], dict[str, Tensor]]
SHARD_BYTES = 2 << 30
# The weights outside the blocks.
_REST_NAME = "model-rest{suffix}.safetensors"
_BLOCK_PREFIX = "model-block-"


def block_shard(folder: Path, block: int) -> Path:
    """Returns the file of a block as it was pruned."""
    return folder / f"{_BLOCK_PREFIX}{block:05d}.safetensors"


def rewritten_shard(folder: Path, block: int) -> Path:
    """Returns the file that replaces a pruned block in the saved model: a smaller block, or packed integers."""
    return folder / f"{_BLOCK_PREFIX}{block:05d}-smaller.safetensors"


def block_tensors(lvlm: LVLM, block: int) -> dict[str, Tensor]:
    """Returns full name -> each parameter and persistent buffer of a block; offloaded ones are on the meta device."""
    return dict(lvlm.blocks[block].state_dict(prefix=f"{lvlm.blocks_name}.{block}."))


def write_shard(file: Path, tensors: dict[str, Tensor]) -> None:
    """Writes tensors as one safetensors file, completely or not at all."""
    with atomic(file) as path:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, {"format": "pt"})


def has_shards(folder: Path) -> bool:
    """Whether the folder holds blocks of an offloaded model."""
    return any(folder.glob(f"{_BLOCK_PREFIX}*.safetensors"))


def finish_folder(
    lvlm: LVLM, folder: Path, config: PreTrainedConfig | None = None, rewrite: Rewrite | None = None
) -> None:
    """Turns a folder with a shard of every block into a saved model: adds the other weights, index, code and configs.

    config.json is written last.

    Args:
        config: the saved model's config, if it is no longer the model's own.
        rewrite: returns what blocks hold instead; it goes into new shards, and the old ones are removed at the end.
    """
    blocks = range(len(lvlm.blocks))
    pruned_shards = [block_shard(folder, block) for block in blocks]
    shards = pruned_shards if rewrite is None else [_rewrite_shard(folder, block, rewrite) for block in blocks]
    weight_map = {name: shard.name for shard in shards for name in _tensor_names(shard)}
    weight_map |= _write_rest(lvlm, folder)
    write_json(folder / SAFE_WEIGHTS_INDEX_NAME, {"metadata": {}, "weight_map": weight_map})
    _write_configs(folder, lvlm.model, config or lvlm.model.config)
    for pruned_shard, shard in zip(pruned_shards, shards, strict=True):
        if shard != pruned_shard:
            pruned_shard.unlink(missing_ok=True)
        if not _tensor_names(shard):
            shard.unlink()


def _write_configs(folder: Path, model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """Writes generation_config.json, the Python files of a model with custom code, and config.json last."""
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    content = json.loads(config.to_json_string()) | {"architectures": [type(model).__name__]}
    for candidate in (model, config):
        if candidate._auto_class is not None:
            custom_object_save(candidate, folder, content)
    write_json(folder / "config.json", content)


def clear_shards(folder: Path) -> None:
    """Removes the shards that a run wrote with its model offloaded, once the model was saved there as a whole.

    A folder that does not belong to a run is left untouched.
    """
    if not is_run(folder):
        return
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file() and _BLOCK_PREFIX in index.read_text():
        index.unlink()
    for pattern in (f"{_BLOCK_PREFIX}*.safetensors", _REST_NAME.format(suffix="*")):
        for shard in folder.glob(pattern):
            shard.unlink()


def _rewrite_shard(folder: Path, block: int, rewrite: Rewrite) -> Path:
    """Returns the shard of what a block holds instead; writes it unless an earlier start already did."""
    rewritten, pruned_shard = rewritten_shard(folder, block), block_shard(folder, block)
    if pruned_shard.is_file():
        write_shard(rewritten, rewrite(block, load_file(pruned_shard)))
    return rewritten


def _write_rest(lvlm: LVLM, folder: Path) -> dict[str, str]:
    """Rewrites the weights outside the blocks; returns name -> the file that holds it."""
    for old_shard in folder.glob(_REST_NAME.format(suffix="*")):
        old_shard.unlink()
    model = lvlm.model
    block_names = {name for block in range(len(lvlm.blocks)) for name in block_tensors(lvlm, block)}
    other_tensors = {name: value for name, value in distinct_tensors(model).items() if name not in block_names}
    shards = split_torch_state_dict_into_shards(other_tensors, filename_pattern=_REST_NAME, max_shard_size=SHARD_BYTES)
    weight_map: dict[str, str] = {}
    for file, names in shards.filename_to_tensors.items():
        shard_tensors = {
            name: stored_weight(model, name) if other_tensors[name].device.type == "meta" else other_tensors[name]
            for name in names
        }
        write_shard(folder / file, shard_tensors)
        weight_map |= dict.fromkeys(names, file)
    return weight_map


def _tensor_names(shard: Path) -> list[str]:
    with safe_open(shard, "pt") as file:
        return list(file.keys())
