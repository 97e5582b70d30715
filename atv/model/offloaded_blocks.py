"""The blocks of an offloaded model during pruning: on the device for their stage, then in their shards."""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atv.model.block_shards import block_shard, block_tensors, rewritten_shard, write_shard
from atv.model.lvlm import LVLM
from atv.model.offload import loading_hooks
from atv.records.files import writer
from atv.records.run_folder import WAITING


class OffloadedBlocks:
    """The blocks of an offloaded model, and the shards in ``folder`` that store them once they are pruned."""

    def __init__(self, lvlm: LVLM, folder: Path) -> None:
        self.lvlm, self.folder = lvlm, folder
        self.on_disk = "disk" in getattr(lvlm.model, "hf_device_map", {}).values()

    def bring(self, block: int) -> None:
        """Loads a block's weights onto the device and keeps them there."""
        for module, hook in loading_hooks(self.lvlm.blocks[block]):
            if hook.offload:
                hook.pre_forward(module)
                hook.offload = False

    def write_block(self, block: int) -> None:
        """Writes the shard of a block that is on the device."""
        write_shard(block_shard(self.folder, block), block_tensors(self.lvlm, block))

    def has_shard(self, block: int) -> bool:
        """Whether a block has already been written."""
        return block_shard(self.folder, block).is_file() or rewritten_shard(self.folder, block).is_file()

    def point_to_shard(self, block: int) -> None:
        """Makes a stored block's hooks read its shard; if the shard is smaller, the forward reports the mismatch."""
        shard, rewritten = block_shard(self.folder, block), rewritten_shard(self.folder, block)
        # Another rank may still be writing the shard; a rewritten one replaces it once the model is saved.
        if rewritten.is_file() and not shard.is_file():
            shard = rewritten
        for name, value in block_tensors(self.lvlm, block).items():
            location = {"safetensors_file": str(shard), "weight_name": name}
            for loader in self._loaders(block):
                loader.state_dict.pop(name, None)
                loader.index[name] = location | {"dtype": str(value.dtype).removeprefix("torch.")}

    def leave_device(self, block: int) -> None:
        """After a block is stored, sends its predecessor off the device, and the block itself if it is the last."""
        self.point_to_shard(block)
        if block:
            self._send_back(block - 1)
        if block + 1 == len(self.lvlm.blocks):
            self._send_back(block)
        _trim_heap()

    def waiting_file(self, batch: int) -> Path | None:
        """Returns the file in which a batch's hidden state waits; None if it waits in CPU memory."""
        return self.folder / WAITING / f"{writer()}-{batch}" if self.on_disk else None

    def _send_back(self, block: int) -> None:
        for module, hook in loading_hooks(self.lvlm.blocks[block]):
            if not hook.offload and hook.weights_map is not None:
                hook.offload = True
                hook.post_forward(module, None)

    def _loaders(self, block: int) -> Iterator[Any]:
        """Yields the objects that a block's hooks read weights from, each once."""
        weights_maps = {id(hook.weights_map): hook.weights_map for _, hook in loading_hooks(self.lvlm.blocks[block])}
        loaders = {
            id(weights_map.dataset): weights_map.dataset
            for weights_map in weights_maps.values()
            if weights_map is not None
        }
        yield from loaders.values()


def _trim_heap() -> None:
    """Returns freed memory to the system if the C library is glibc.

    glibc keeps the memory that large temporaries, such as scores, free between the small masks that stay: block by
    block, up to the size of the model.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
