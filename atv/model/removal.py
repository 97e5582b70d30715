"""A model with structures taken out: which rows and columns stay, its config, and its tensors."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from atv.data.wording import short
from atv.model.lvlm import LVLM
from atv.model.structures import Structure, decoder_config, members


@dataclass(frozen=True)
class Removal:
    """What stays of each Linear that has a part in a structure, once ``count`` structures are left in every block.

    ``kept`` maps the module that holds a structure's Linears to the structures that stay, int64 (count,), ascending.
    All names and tensors are those of the dense model.
    """

    structure: Structure
    kept: Mapping[str, Tensor]
    count: int

    @classmethod
    def of(cls, lvlm: LVLM, structure: Structure, masks: Mapping[str, Tensor]) -> Self:
        """What masks of the dense model, or of the one that was made smaller by them, leave.

        A config has one size for all blocks: that of the block that keeps most, or the next that the config takes.
        Blocks that keep fewer keep some that are zero, the first ones.
        """
        width = structure.sides[structure.reader].width
        readers = (name for name in masks if structure.side(name) and name.endswith(structure.reader))
        stays = {_module(name): masks[name].any(0).unflatten(0, (-1, width)).any(1) for name in readers}
        most = max(int(kept.sum()) for kept in stays.values())
        every = len(next(iter(stays.values())))
        config = lvlm.model.config
        count = next(count for count in range(most, every + 1) if refusal(config, structure, count) is None)
        first = {module: torch.argsort(~kept, stable=True)[:count] for module, kept in stays.items()}
        return cls(structure, {module: kept.sort().values for module, kept in first.items()}, count)

    @classmethod
    def trial(cls, lvlm: LVLM, structure: Structure, count: int) -> Self:
        """The first ``count`` structures of every block stay.

        Raises:
            ValueError: where the model's class makes no model of these sizes.
        """
        some = torch.arange(count)
        made = cls(structure, {_module(name): some for name in members(lvlm, structure)}, count)
        made._check(lvlm.model)
        return made

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """What stays of a parameter or buffer, or of a mask that is named as its weight."""
        if (place := self._place(name, tensor.dim())) is None:
            return tensor
        dim, index = place
        return tensor.index_select(dim, index.to(tensor.device))

    def shape(self, name: str, shape: Sequence[int]) -> list[int]:
        """The shape of what stays of a tensor of this ``shape``."""
        place = self._place(name, len(shape))
        return [len(place[1]) if place and dim == place[0] else size for dim, size in enumerate(shape)]

    def masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stays of masks: all kept, but for structures that stay because other blocks keep more."""
        return {name: self.cut(f"{name}.weight", mask) for name, mask in masks.items()}

    def changes(self, dense: PreTrainedConfig) -> dict[str, list[int]]:
        """Field of the decoder's config -> what it is in the dense model, and in the smaller one."""
        after = self.structure.config_fields(self.count)
        return {name: [getattr(decoder_config(dense), name), after[name]] for name in self.structure.fields}

    def is_done(self, config: PreTrainedConfig) -> bool:
        """Whether this is the smaller model's config already."""
        return self.structure.count(config) == self.count

    def config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        """The config of the smaller model."""
        return _resized(dense, self.structure, self.count)

    def model(self, dense: PreTrainedModel) -> PreTrainedModel:
        """The smaller model, for saving: it shares what was not cut, and buffers that are not saved stay empty."""
        made = self._skeleton(dense)
        made.load_state_dict({name: self.cut(name, value) for name, value in dense.state_dict().items()}, assign=True)
        made.tie_weights()
        made.generation_config = dense.generation_config
        # By it transformers gives tensors the names and forms that the checkpoint had.
        made._weight_conversions = getattr(dense, "_weight_conversions", None)
        return made

    def put_back(self, dense: nn.Module, smaller: Mapping[str, Tensor]) -> None:
        """Writes the tensors of the smaller model to their places in the dense one; all else stays as it is."""
        own = dense.state_dict()
        for name, value in smaller.items():
            if (place := self._place(name, value.dim())) is None:
                own[name].copy_(value)
            else:
                own[name].index_copy_(place[0], place[1].to(own[name].device), value.to(own[name]))

    def _place(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        """The dimension of a tensor that is cut, and what stays there; None for one that is not cut."""
        owner = name.rpartition(".")[0]
        side = self.structure.side(owner)
        # A bias has rows alone.
        if side is None or _module(owner) not in self.kept or side.dim >= dims:
            return None
        within = torch.arange(side.width)
        return side.dim, (self.kept[_module(owner)][:, None] * side.width + within).flatten()

    def _skeleton(self, dense: PreTrainedModel) -> PreTrainedModel:
        with torch.device("meta"):
            made: Any = type(dense)(self.config(dense.config))
        return made.eval()

    def _check(self, dense: PreTrainedModel) -> None:
        """Whether the class, given the smaller sizes, makes tensors of the shapes that are left."""
        kind = type(dense).__name__
        try:
            made = {name: list(value.shape) for name, value in self._skeleton(dense).state_dict().items()}
        except Exception as error:  # Classes check their configs each in its own way.
            raise ValueError(f"pattern: no {kind} with {self._sizes()} can be made: {short(error)}") from error
        for name, value in dense.state_dict().items():
            if made.get(name) != (left := self.shape(name, value.shape)):
                raise ValueError(
                    f"pattern: a {kind} with {self._sizes()} has {name} of shape {made.get(name)}, what is left is "
                    f"{left}"
                )

    def _sizes(self) -> str:
        fields = self.structure.config_fields(self.count)
        return ", ".join(f"{name} {value}" for name, value in fields.items())


def refusal(config: PreTrainedConfig, structure: Structure, count: int) -> str | None:
    """Why the config cannot have ``count`` structures in every block, by its own check; None where it can."""
    try:
        _resized(config, structure, count)
    except Exception as error:  # As above.
        return short(str(error).splitlines()[-1].strip())
    return None


def _resized(config: PreTrainedConfig, structure: Structure, count: int) -> PreTrainedConfig:
    resized = copy.deepcopy(config)
    for name, value in structure.config_fields(count).items():
        setattr(decoder_config(resized), name, value)
    # Checks it as loading it from a file does.
    type(resized).from_dict(resized.to_dict())
    return resized


def _module(linear: str) -> str:
    return linear.rpartition(".")[0]
