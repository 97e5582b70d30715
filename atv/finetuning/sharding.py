"""A model in shards, one to each rank (FSDP2)."""

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from atv.model.lvlm import LVLM


def shard(lvlm: LVLM, mesh: DeviceMesh) -> None:
    """Shards the parameters block by block, then all others, so that a rank holds one whole block at a time."""
    for module in (*lvlm.blocks, lvlm.model):
        fully_shard(module, mesh=mesh)
