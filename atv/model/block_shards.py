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
from atv.model.offload import distinct_tensors, stored
from atv.records.files import atomic, write_json
from atv.records.run_folder import is_run

# Returns the tensors that a block has in the saved model, given the block and its present tensors by name.
Rewrite = Callable[[int, dict[str, Tensor]], dict[str, Tensor]]
SHARD_BYTES = 2 << 30
# The weights outside the blocks.
_REST = "model-rest{suffix}.safetensors"
_BLOCKS = "model-block-"


def block_shard(folder: Path, block: int) -> Path:
    """Returns the file of a block as it was pruned."""
    return folder / f"{_BLOCKS}{block:05d}.safetensors"


def rewritten_shard(folder: Path, block: int) -> Path:
    """Returns the file that replaces a pruned block in the saved model: a smaller block, or packed integers."""
    return folder / f"{_BLOCKS}{block:05d}-smaller.safetensors"


def block_tensors(lvlm: LVLM, block: int) -> dict[str, Tensor]:
    """Returns full name -> each parameter and persistent buffer of a block; offloaded ones are on the meta device."""
    return dict(lvlm.blocks[block].state_dict(prefix=f"{lvlm.blocks_name}.{block}."))


def write_shard(file: Path, tensors: dict[str, Tensor]) -> None:
    """Writes tensors as one safetensors file, completely or not at all."""
    with atomic(file) as path:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, {"format": "pt"})


def has_shards(folder: Path) -> bool:
    """Whether the folder holds blocks of an offloaded model."""
    return any(folder.glob(f"{_BLOCKS}*.safetensors"))


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
    pruned = [block_shard(folder, block) for block in blocks]
    shards = pruned if rewrite is None else [_rewritten(folder, block, rewrite) for block in blocks]
    places = {name: shard.name for shard in shards for name in _names(shard)}
    places |= _write_rest(lvlm, folder)
    write_json(folder / SAFE_WEIGHTS_INDEX_NAME, {"metadata": {}, "weight_map": places})
    _write_configs(folder, lvlm.model, config or lvlm.model.config)
    for before, shard in zip(pruned, shards, strict=True):
        if shard != before:
            before.unlink(missing_ok=True)
        if not _names(shard):
            shard.unlink()


def _write_configs(folder: Path, model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """Writes generation_config.json, the Python files of a model with custom code, and config.json last."""
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    content = json.loads(config.to_json_string()) | {"architectures": [type(model).__name__]}
    for brought in (model, config):
        if brought._auto_class is not None:
            custom_object_save(brought, folder, content)
    write_json(folder / "config.json", content)


def clear_shards(folder: Path) -> None:
    """Removes the shards that a run wrote with its model offloaded, once the model was saved there as a whole.

    A folder that does not belong to a run is left untouched.
    """
    if not is_run(folder):
        return
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file() and _BLOCKS in index.read_text():
        index.unlink()
    for pattern in (f"{_BLOCKS}*.safetensors", _REST.format(suffix="*")):
        for shard in folder.glob(pattern):
            shard.unlink()


def _rewritten(folder: Path, block: int, rewrite: Rewrite) -> Path:
    """Returns the shard of what a block holds instead; writes it unless an earlier start already did."""
    made, pruned = rewritten_shard(folder, block), block_shard(folder, block)
    if pruned.is_file():
        write_shard(made, rewrite(block, load_file(pruned)))
    return made


def _write_rest(lvlm: LVLM, folder: Path) -> dict[str, str]:
    """Rewrites the weights outside the blocks; returns name -> the file that holds it."""
    for earlier in folder.glob(_REST.format(suffix="*")):
        earlier.unlink()
    model = lvlm.model
    inside = {name for block in range(len(lvlm.blocks)) for name in block_tensors(lvlm, block)}
    rest = {name: value for name, value in distinct_tensors(model).items() if name not in inside}
    shards = split_torch_state_dict_into_shards(rest, filename_pattern=_REST, max_shard_size=SHARD_BYTES)
    places: dict[str, str] = {}
    for file, names in shards.filename_to_tensors.items():
        values = {name: stored(model, name) if rest[name].device.type == "meta" else rest[name] for name in names}
        write_shard(folder / file, values)
        places |= dict.fromkeys(names, file)
    return places


def _names(shard: Path) -> list[str]:
    with safe_open(shard, "pt") as file:
        return list(file.keys())
