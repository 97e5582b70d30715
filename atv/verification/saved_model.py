"""A saved model whose weights stay in its files until one is asked for."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from atv.model.lvlm import LVLM
from atv.model.offload import load_mapped, stored


@dataclass(frozen=True)
class SavedModel:
    """Weights by the names that the model gives them in memory, whatever its files call them."""

    lvlm: LVLM

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every parameter and persistent buffer once, tied ones under their first name; weights on the meta device."""
        tied = getattr(self.lvlm.model, "all_tied_weights_keys", {})
        return {name: value for name, value in self.lvlm.model.state_dict().items() if name not in tied}

    def tensor(self, name: str) -> Tensor:
        """The values, read from the files now."""
        value = self.tensors[name]
        return stored(self.lvlm.model, name) if value.device.type == "meta" else value


@contextmanager
def opened(folder: Path, trust_remote_code: bool = False) -> Iterator[SavedModel]:
    """Loads as ``from_pretrained`` does, every weight memory-mapped; the model can run, slowly.

    Experts that transformers fuses while it loads are written to a scratch folder (TMPDIR) that goes in the end.

    Raises:
        ValueError: for files that cannot be read, or that lack a tensor: the message names the first.
    """
    with tempfile.TemporaryDirectory(prefix="atv-") as scratch:
        yield SavedModel(LVLM.of(load_mapped(folder, {"": "disk"}, Path(scratch), trust_remote_code)))
