"""A model with structures taken out: which rows, columns, blocks and experts stay, its config, and its tensors."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from atv.data.wording import short
from atv.model.lvlm import LVLM
from atv.model.structures import Structure, block_lists, decoder_config, members


class Removal(ABC):
    """What stays of a model once structures were taken out; names and tensors are the dense model's unless said."""

    @property
    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """What fields of the decoder's config are in the smaller model."""

    @property
    @abstractmethod
    def counts(self) -> Iterable[str]:
        """Those of the fields that count what was taken out."""

    @abstractmethod
    def place(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        """The dimension in which a tensor of so many is cut, and what stays there; None for one that is not cut."""

    def changes(self, config: PreTrainedConfig) -> dict[str, list[int]]:
        """Field that counts what was taken out -> what it is in this model's config, and in the smaller one's."""
        return {name: [int(getattr(decoder_config(config), name)), self.fields[name]] for name in self.counts}

    def is_done(self, config: PreTrainedConfig) -> bool:
        """Whether this is the smaller model's config already."""
        return all(here == left for here, left in self.changes(config).values())

    def names(self, names: Iterable[str]) -> dict[str, str]:
        """Of modules or tensors: what the smaller model calls those that stay -> their names."""
        return {name: name for name in names}

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """What stays of a parameter or buffer, or of a mask that is named as its weight."""
        if (place := self.place(name, tensor.dim())) is None:
            return tensor
        dim, index = place
        return tensor.index_select(dim, index.to(tensor.device))

    def left(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stays of tensors, by the smaller model's names."""
        return {ours: self.cut(name, tensors[name]) for ours, name in self.names(tensors).items()}

    def shape(self, name: str, shape: Sequence[int]) -> list[int]:
        """The shape of what stays of a tensor of this ``shape``."""
        place = self.place(name, len(shape))
        return [len(place[1]) if place and dim == place[0] else size for dim, size in enumerate(shape)]

    def masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stays of masks, by the smaller model's names: all kept, but for what stays although it is zero."""
        return {ours: self.cut(f"{name}.weight", masks[name]) for ours, name in self.names(masks).items()}

    def config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        """The config of the smaller model."""
        return resized(dense, self.fields)

    def model(self, dense: PreTrainedModel) -> PreTrainedModel:
        """The smaller model, for saving: it shares what was not cut, and buffers that are not saved stay empty."""
        made: Any = self._skeleton(dense)
        made.load_state_dict(self.left(dense.state_dict()), assign=True)
        made.tie_weights()
        made.generation_config = dense.generation_config
        # By it transformers gives tensors the names and forms that the checkpoint had.
        made._weight_conversions = getattr(dense, "_weight_conversions", None)
        return made

    def put_back(self, dense: nn.Module, smaller: Mapping[str, Tensor]) -> None:
        """Writes the tensors of the smaller model to their places in the dense one; all else stays as it is."""
        own = dense.state_dict()
        for ours, name in self.names(own).items():
            if (place := self.place(name, own[name].dim())) is None:
                own[name].copy_(smaller[ours])
            else:
                own[name].index_copy_(place[0], place[1].to(own[name].device), smaller[ours].to(own[name]))

    def check(self, dense: PreTrainedModel) -> None:
        """Whether the class, given the smaller sizes, makes tensors of the shapes that are left.

        Raises:
            ValueError: where it does not, or makes none at all.
        """
        kind, sizes = type(dense).__name__, ", ".join(f"{name} {value}" for name, value in self.fields.items())
        try:
            made = {name: list(value.shape) for name, value in self._skeleton(dense).state_dict().items()}
        except Exception as error:  # Classes check their configs each in its own way.
            raise ValueError(f"pattern: no {kind} with {sizes} can be made: {short(error)}") from error
        state = dense.state_dict()
        for ours, name in self.names(state).items():
            if made.get(ours) != (left := self.shape(name, state[name].shape)):
                raise ValueError(
                    f"pattern: a {kind} with {sizes} has {ours} of shape {made.get(ours)}, what is left is {left}"
                )

    def _skeleton(self, dense: PreTrainedModel) -> PreTrainedModel:
        with torch.device("meta"):
            return type(dense)(self.config(dense.config)).eval()


@dataclass(frozen=True)
class RemovedParts(Removal):
    """Rows and columns were taken out: ``count`` structures are left in every block.

    ``kept`` maps the module that holds a structure's Linears to the structures that stay, int64 (count,), ascending.
    """

    structure: Structure
    kept: Mapping[str, Tensor]
    count: int

    @classmethod
    def of(cls, lvlm: LVLM, structure: Structure, masks: Mapping[str, Tensor]) -> Self:
        """What masks of the dense model leave; ``lvlm`` is that, or the one that was made smaller by them.

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
        """The first ``count`` structures of every block stay."""
        some = torch.arange(count)
        return cls(structure, {_module(name): some for name in members(lvlm, structure)}, count)

    @property
    def fields(self) -> dict[str, Any]:
        return self.structure.config_fields(self.count)

    @property
    def counts(self) -> Iterable[str]:
        return self.structure.fields

    def place(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        owner = name.rpartition(".")[0]
        side = self.structure.side(owner)
        # A bias has rows alone.
        if side is None or _module(owner) not in self.kept or side.dim >= dims:
            return None
        within = torch.arange(side.width)
        return side.dim, (self.kept[_module(owner)][:, None] * side.width + within).flatten()


@dataclass(frozen=True)
class RemovedBlocks(Removal):
    """Whole blocks were taken out: ``kept`` are the indices of those that stay, ascending.

    ``lists`` are fields of the config that have an entry a block, as the smaller model has them.
    """

    blocks_name: str
    kept: tuple[int, ...]
    lists: Mapping[str, list[Any]]

    @classmethod
    def of(cls, lvlm: LVLM, kept: Sequence[int], count: int) -> Self:
        """``lvlm`` is the dense model of ``count`` blocks, or the one that was made smaller."""
        lists = block_lists(lvlm.model.config)
        if len(lvlm.blocks) == count:
            lists = {name: [values[block] for block in kept] for name, values in lists.items()}
        return cls(lvlm.blocks_name, tuple(kept), lists)

    @property
    def fields(self) -> dict[str, Any]:
        return {"num_hidden_layers": len(self.kept), **self.lists}

    @property
    def counts(self) -> Iterable[str]:
        return ("num_hidden_layers",)

    def place(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        return None

    def names(self, names: Iterable[str]) -> dict[str, str]:
        prefix = f"{self.blocks_name}."
        now = {block: place for place, block in enumerate(self.kept)}
        found: dict[str, str] = {}
        for name in names:
            block, _, rest = name.removeprefix(prefix).partition(".")
            if not name.startswith(prefix):
                found[name] = name
            elif int(block) in now:
                found[f"{prefix}{now[int(block)]}.{rest}"] = name
        return found


@dataclass(frozen=True)
class RemovedExperts(Removal):
    """Experts were taken out, as many of every layer.

    ``kept`` maps a layer of experts to those that stay, int64 (count,), ascending; ``layer_of`` a router to its layer.
    """

    kept: Mapping[str, Tensor]
    layer_of: Mapping[str, str]
    count: int

    @classmethod
    def of(cls, lvlm: LVLM, kept: Mapping[str, Sequence[int]]) -> Self:
        """``lvlm`` is the dense model, or the one that was made smaller.

        Raises:
            ValueError: for a layer without a router that is known.
        """
        layer_of: dict[str, str] = {}
        for layer in lvlm.experts:
            if (router := layer.router(lvlm.model)) is None:
                raise ValueError(f"pattern: experts of {layer.name} cannot be removed: its router is not known")
            layer_of[router] = layer.name
        (count,) = {len(experts) for experts in kept.values()}
        return cls({name: torch.tensor(experts) for name, experts in kept.items()}, layer_of, count)

    @property
    def fields(self) -> dict[str, Any]:
        return {"num_experts": self.count}

    @property
    def counts(self) -> Iterable[str]:
        return self.fields

    def place(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        owner = name.rpartition(".")[0]
        kept = self.kept.get(self.layer_of.get(owner, owner))
        return None if kept is None else (0, kept)

    def names(self, names: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in names:
            layer, expert, parameter = ("", "", *name.rsplit(".", 2))[-3:]
            if layer not in self.kept or not expert.isdigit():
                found[name] = name
            elif len(place := (self.kept[layer] == int(expert)).nonzero()):
                found[f"{layer}.{int(place)}.{parameter}"] = name
        return found


def refusal(config: PreTrainedConfig, structure: Structure, count: int) -> str | None:
    """Why the config cannot have ``count`` structures in every block, by its own check; None where it can."""
    try:
        resized(config, structure.config_fields(count))
    except Exception as error:  # As in ``Removal.check``.
        return short(str(error).splitlines()[-1].strip())
    return None


def resized(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A model's config with other values in its decoder's, checked as loading it from a file does."""
    made = copy.deepcopy(config)
    for name, value in fields.items():
        setattr(decoder_config(made), name, value)
    type(made).from_dict(made.to_dict())
    return made


def _module(linear: str) -> str:
    return linear.rpartition(".")[0]
