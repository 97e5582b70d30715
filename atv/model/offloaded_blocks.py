"""The blocks of an offloaded model while it is pruned: on the device for their stage, then in their shards."""

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
    """The blocks of an offloaded model, and the shards in ``folder`` that take them once they are pruned."""

    def __init__(self, lvlm: LVLM, folder: Path) -> None:
        self.lvlm, self.folder = lvlm, folder
        self.on_disk = "disk" in getattr(lvlm.model, "hf_device_map", {}).values()

    def bring(self, block: int) -> None:
        """Loads a block's weights to the device, to stay there."""
        for module, hook in loading_hooks(self.lvlm.blocks[block]):
            if hook.offload:
                hook.pre_forward(module)
                hook.offload = False

    def write_block(self, block: int) -> None:
        """Writes the shard of a block that is on the device."""
        write_shard(block_shard(self.folder, block), block_tensors(self.lvlm, block))

    def has_shard(self, block: int) -> bool:
        """Whether a block was written before."""
        return block_shard(self.folder, block).is_file() or rewritten_shard(self.folder, block).is_file()

    def point_to_shard(self, block: int) -> None:
        """Lets a stored block be fetched from its shard; of a smaller one its forward will say that it does not fit."""
        shard, rewritten = block_shard(self.folder, block), rewritten_shard(self.folder, block)
        # Another rank may be writing the shard still; a rewritten one takes its place once the model was saved.
        if rewritten.is_file() and not shard.is_file():
            shard = rewritten
        for name, value in block_tensors(self.lvlm, block).items():
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
        for module, hook in loading_hooks(self.lvlm.blocks[block]):
            if not hook.offload and hook.weights_map is not None:
                hook.offload = True
                hook.post_forward(module, None)

    def _loaders(self, block: int) -> Iterator[Any]:
        """What the hooks of a block read weights from, each once."""
        maps = {id(hook.weights_map): hook.weights_map for _, hook in loading_hooks(self.lvlm.blocks[block])}
        loaders = {id(prefixed.dataset): prefixed.dataset for prefixed in maps.values() if prefixed is not None}
        yield from loaders.values()


def _trim_heap() -> None:
    """Gives freed memory back to the system where the C library is glibc.

    It keeps what large temporaries, such as scores, leave between the small masks that stay: block by block, up to the
    size of the model.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
