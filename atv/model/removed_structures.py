"""Structures that can be removed whole from a model: rows and columns of its Linears, blocks, or experts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from atv.data.wording import short
from atv.model.lvlm import LVLM
from atv.model.removal import Removal, resized
from atv.model.structures import Structure, block_lists, members


@dataclass(frozen=True)
class RemovedParts(Removal):
    """Rows and columns were removed: ``count`` structures remain in every block.

    ``kept`` maps the module that holds a structure's Linears to the remaining structures, int64 (count,), ascending.
    """

    structure: Structure
    kept: Mapping[str, Tensor]
    count: int

    @classmethod
    def of(cls, lvlm: LVLM, structure: Structure, masks: Mapping[str, Tensor]) -> Self:
        """Returns what masks of the dense model leave; ``lvlm`` is that model, or the one that they made smaller.

        A config has one size for all blocks: that of the block that keeps the most, or the next size that the config
        accepts. Blocks that keep fewer structures also retain some that are zero, the first ones.
        """
        width = structure.sides[structure.reader].width
        readers = (name for name in masks if structure.side(name) and name.endswith(structure.reader))
        kept_flags = {_parent_module(name): masks[name].any(0).unflatten(0, (-1, width)).any(1) for name in readers}
        most_kept = max(int(kept.sum()) for kept in kept_flags.values())
        total = len(next(iter(kept_flags.values())))
        config = lvlm.model.config
        count = next(count for count in range(most_kept, total + 1) if refusal(config, structure, count) is None)
        kept_indices = {module: torch.argsort(~kept, stable=True)[:count] for module, kept in kept_flags.items()}
        return cls(structure, {module: kept.sort().values for module, kept in kept_indices.items()}, count)

    @classmethod
    def trial(cls, lvlm: LVLM, structure: Structure, count: int) -> Self:
        """Returns a removal that keeps the first ``count`` structures of every block."""
        first_structures = torch.arange(count)
        return cls(structure, {_parent_module(name): first_structures for name in members(lvlm, structure)}, count)

    @property
    def config_fields(self) -> dict[str, Any]:
        return self.structure.config_fields(self.count)

    @property
    def counted_fields(self) -> Iterable[str]:
        return self.structure.fields

    def kept_along(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        owner = name.rpartition(".")[0]
        side = self.structure.side(owner)
        # A bias has only rows.
        if side is None or _parent_module(owner) not in self.kept or side.dim >= dims:
            return None
        offsets = torch.arange(side.width)
        return side.dim, (self.kept[_parent_module(owner)][:, None] * side.width + offsets).flatten()


@dataclass(frozen=True)
class RemovedBlocks(Removal):
    """Whole blocks were removed: ``kept`` holds the indices of the remaining blocks, ascending.

    ``lists`` holds the config's fields with one entry per block, as the smaller model has them.
    """

    blocks_name: str
    kept: tuple[int, ...]
    lists: Mapping[str, list[Any]]

    @classmethod
    def of(cls, lvlm: LVLM, kept: Sequence[int], count: int) -> Self:
        """Returns the removal; ``lvlm`` is the dense model of ``count`` blocks, or the one that was made smaller."""
        lists = block_lists(lvlm.model.config)
        if len(lvlm.blocks) == count:
            lists = {name: [values[block] for block in kept] for name, values in lists.items()}
        return cls(lvlm.blocks_name, tuple(kept), lists)

    @property
    def config_fields(self) -> dict[str, Any]:
        return {"num_hidden_layers": len(self.kept), **self.lists}

    @property
    def counted_fields(self) -> Iterable[str]:
        return ("num_hidden_layers",)

    def kept_along(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        return None

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        prefix = f"{self.blocks_name}."
        new_index = {block: index for index, block in enumerate(self.kept)}
        dense_names: dict[str, str] = {}
        for name in names:
            block, _, suffix = name.removeprefix(prefix).partition(".")
            if not name.startswith(prefix):
                dense_names[name] = name
            elif int(block) in new_index:
                dense_names[f"{prefix}{new_index[int(block)]}.{suffix}"] = name
        return dense_names


@dataclass(frozen=True)
class RemovedExperts(Removal):
    """Experts were removed, the same number from every layer.

    ``kept`` maps a layer of experts to the remaining ones, int64 (count,), ascending. ``layer_of`` maps a router to its
    layer.
    """

    kept: Mapping[str, Tensor]
    layer_of: Mapping[str, str]
    count: int

    @classmethod
    def of(cls, lvlm: LVLM, kept: Mapping[str, Sequence[int]]) -> Self:
        """Returns the removal; ``lvlm`` is the dense model, or the one that was made smaller.

        Raises:
            ValueError: if the router of a layer is unknown.
        """
        layer_of: dict[str, str] = {}
        for layer in lvlm.experts:
            if (router := layer.router(lvlm.model)) is None:
                raise ValueError(f"pattern: experts of {layer.name} cannot be removed, because its router is unknown")
            layer_of[router] = layer.name
        (count,) = {len(experts) for experts in kept.values()}
        return cls({name: torch.tensor(experts) for name, experts in kept.items()}, layer_of, count)

    @property
    def config_fields(self) -> dict[str, Any]:
        return {"num_experts": self.count}

    def kept_along(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        owner = name.rpartition(".")[0]
        kept_experts = self.kept.get(self.layer_of.get(owner, owner))
        return None if kept_experts is None else (0, kept_experts)

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        dense_names: dict[str, str] = {}
        for name in names:
            layer, expert, parameter = ("", "", *name.rsplit(".", 2))[-3:]
            if layer not in self.kept or not expert.isdigit():
                dense_names[name] = name
            elif len(new_index := (self.kept[layer] == int(expert)).nonzero()):
                dense_names[f"{layer}.{int(new_index)}.{parameter}"] = name
        return dense_names


def refusal(config: PreTrainedConfig, structure: Structure, count: int) -> str | None:
    """Returns why the config's own check rejects ``count`` structures in every block; None if it accepts them."""
    try:
        resized(config, structure.config_fields(count))
    except Exception as error:  # As in ``Removal.check``.
        return short(str(error).splitlines()[-1].strip())
    return None


def _parent_module(linear: str) -> str:
    return linear.rpartition(".")[0]
