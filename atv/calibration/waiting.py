"""Forwards that wait at a door: the memory they hold, and where it may be parked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from atv.calibration.calibration_set import BatchTokens
from atv.calibration.suspension import SuspendedForward

# Number of bytes copied at a time.
_CHUNK_BYTES = 16 << 20


@dataclass
class WaitingForward:
    """One batch's forward, its tokens, and the hidden state at its door, which may be parked."""

    forward: SuspendedForward
    tokens: BatchTokens
    hidden: Tensor | None = None
    parked: "Parked | None" = None

    def park(self, file: Path | None) -> None:
        """Moves the hidden state off the device, to the CPU or into a file."""
        if self.hidden is not None:
            self.parked = Parked(self.hidden, file)

    def unpark(self) -> None:
        """Brings the hidden state back to its device."""
        if self.parked is not None:
            self.parked.restore()
        self.hidden = self.parked = None

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Context in which a parked hidden state is back on its device; it is parked again on exit."""
        parked, self.parked = self.parked, None
        if parked is not None:
            parked.restore()
        try:
            yield
        finally:
            if parked is not None:
                self.park(parked.file)

    def close(self) -> None:
        """Ends the forward where it waits."""
        self.forward.close()
        if self.parked is not None:
            self.parked.forget()


class Parked:
    """A tensor's memory, moved to the CPU or into a file until ``restore``.

    Other holders of the tensor, such as frames of the model's forward, find it unchanged afterwards.
    """

    def __init__(self, tensor: Tensor, file: Path | None) -> None:
        self._storage, self.file = tensor.untyped_storage(), file
        self._size = self._storage.nbytes()
        content = _as_bytes(self._storage)
        self._content = content.cpu() if file is None else None
        if file is not None:
            _write_whole_file(file, content)
        self._storage.resize_(0)

    def restore(self) -> None:
        """Brings the tensor's memory back."""
        self._storage.resize_(self._size)
        _as_bytes(self._storage).copy_(self._mapped_file() if self._content is None else self._content)
        self.forget()

    def forget(self) -> None:
        """Removes the file that holds the memory, if there is one."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def _mapped_file(self) -> Tensor:
        return torch.from_file(str(self.file), shared=True, size=self._size, dtype=torch.uint8)


def _write_whole_file(file: Path, content: Tensor) -> None:
    """Writes a file completely or not at all."""
    # Not through mapped memory, because a full disk would then kill the process by a signal.
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as stream:
            for chunk in content.split(_CHUNK_BYTES):
                # A NumPy view would pin the memory that is about to be freed.
                stream.write(chunk.to("cpu", copy=True).numpy())
    except OSError:
        file.unlink(missing_ok=True)
        raise


def addresses(model: nn.Module) -> set[int]:
    """Returns the storage addresses of the model's own parameters and buffers."""
    return {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}


def held_bytes(forward: SuspendedForward, excluded: set[int]) -> int:
    """Bytes of the tensors that a waiting forward's frames refer to, except those at the addresses ``excluded``."""
    storages = {}
    for frame in forward.frames():
        for leaf in tree_leaves(dict(frame.f_locals)):
            if isinstance(leaf, Tensor) and leaf.device.type != "meta":
                storages[leaf.untyped_storage().data_ptr()] = leaf.untyped_storage().nbytes()
    return sum(size for address, size in storages.items() if address not in excluded)


def _as_bytes(storage: torch.UntypedStorage) -> Tensor:
    # torch's type stubs only know typed storages.
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
