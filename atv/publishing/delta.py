"""What a tensor's bits became, told by what they were: small where values moved little, and exact."""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def delta(new: Tensor, old: Tensor) -> Tensor:
    """The difference of two tensors (n,) of one dtype, compressed: uint8 (bytes,).

    Bits are subtracted as whole numbers, signs are moved to the lowest bit, so that small steps either way are small
    numbers, and all first bytes come before all second ones: the high bytes of values that moved little are zeros.
    """
    step = _bits(new) - _bits(old)
    size = step.itemsize
    folded = (step << 1) ^ (step.view(_SIGNED[size]) >> (8 * size - 1)).view(step.dtype)
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, size).T)
    return torch.frombuffer(bytearray(zlib.compress(planes.tobytes())), dtype=torch.uint8)


def patched(old: Tensor, packed: Tensor) -> Tensor:
    """The new tensor (n,) from the old one and their ``delta``.

    Raises:
        ValueError: for a delta that is broken, or of a tensor of another size.
    """
    bits = _bits(old)
    try:
        content = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), np.uint8)
    except zlib.error as error:
        raise ValueError(f"its delta is broken: {error}") from error
    if content.size != bits.nbytes:
        raise ValueError(f"its delta is of {content.size} bytes, the tensor has {bits.nbytes}")
    folded = np.ascontiguousarray(content.reshape(bits.itemsize, -1).T).view(bits.dtype)[:, 0]
    step = (folded >> 1) ^ (0 - (folded & 1))
    return torch.from_numpy((bits + step).view(np.uint8)).view(old.dtype)


def _bits(tensor: Tensor) -> NDArray:
    """The values' bits as whole numbers (n,)."""
    values = tensor.detach().cpu().contiguous()
    return values.view(torch.uint8).numpy().view(_UNSIGNED[values.itemsize])
