"""What can be taken out of a decoder whole, and which fields of its config count it: what differs between types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from atv.model.lvlm import LVLM

# Decoders all of whose sizes follow from the fields below: the tests compare the smaller models' logits.
KNOWN = (
    *("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen2_5_vl_text", "qwen2_vl_text", "qwen3"),
    "qwen3_vl_text",
)

# Features of pictures are added after the first blocks, whichever these are, so that a block has a place of its own.
_PLACED = ("qwen3_vl_text",)
# Mixtures whose routers have a row of weights an expert, and choose by it alone.
MIXTURES = ("gpt_oss", "mixtral", "qwen3_moe", "qwen3_vl_moe_text")
# Fields with an entry a block.
_LISTS = ("layer_types",)


@dataclass(frozen=True)
class Side:
    """Where one structure lies in a Linear's weight: ``width`` consecutive rows (dim 0) or columns (dim 1)."""

    dim: int
    width: int = 1


@dataclass(frozen=True)
class Structure:
    """What goes together: a part of each of several Linears of a module, as often in every block.

    Attributes:
        name: of several, in words.
        module: what holds the Linears, in each block.
        sides: name of a Linear in the module -> its side. The one whose columns it lies in is the last, the *reader*:
            zeros there alone already leave the structure without any influence.
        fields: field of the decoder's config -> how many of what it counts make up one structure.
        fixed: fields that follow from these unless they are named.
    """

    name: str
    module: str
    sides: Mapping[str, Side]
    fields: Mapping[str, int]
    fixed: Mapping[str, int] = field(default_factory=dict)

    @property
    def reader(self) -> str:
        """The Linear that reads the structure."""
        return list(self.sides)[-1]

    def side(self, linear: str) -> Side | None:
        """The side of a Linear by its full name; None for one that has no part in the structure."""
        *_, module, name = ("", *linear.split("."))
        return self.sides.get(name) if module == self.module else None

    def count(self, config: PreTrainedConfig) -> int:
        """How many there are in a block of the model of this config."""
        counted, each = next(iter(self.fields.items()))
        return int(getattr(decoder_config(config), counted)) // each

    def config_fields(self, count: int) -> dict[str, int]:
        """What the decoder's config says once ``count`` are left in every block."""
        return {name: each * count for name, each in self.fields.items()} | dict(self.fixed)


def decoder_config(config: PreTrainedConfig) -> Any:
    """The config of the decoder, inside a model's config or the same."""
    return config.get_text_config(decoder=True)


def ffn_channels(lvlm: LVLM) -> Structure:
    """The inner channels of each block's FFN.

    Raises:
        ValueError: naming a decoder that has none of this form, or of a type that is not known.
    """
    sides = {"gate_proj": Side(0), "up_proj": Side(0), "down_proj": Side(1)}
    return _found(lvlm, Structure("FFN channels", "mlp", sides, {"intermediate_size": 1}))


def attention_heads(lvlm: LVLM) -> Structure:
    """The key-value heads of each block's attention, each with the query heads that read it.

    Raises:
        ValueError: as ``ffn_channels`` does.
    """
    config = decoder_config(lvlm.model.config)
    heads, groups = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    groups = groups or heads
    size, queries = getattr(config, "head_dim", None) or config.hidden_size // heads, heads // groups
    sides = {"q_proj": Side(0, queries * size), "k_proj": Side(0, size), "v_proj": Side(0, size)}
    sides["o_proj"] = Side(1, queries * size)
    fields = {"num_key_value_heads": 1, "num_attention_heads": queries}
    return _found(lvlm, Structure("key-value heads", "self_attn", sides, fields, {"head_dim": size}))


def block_lists(config: PreTrainedConfig) -> dict[str, list[Any]]:
    """Fields of the decoder's config that have an entry a block."""
    values = {name: getattr(decoder_config(config), name, None) for name in _LISTS}
    return {name: list(value) for name, value in values.items() if value is not None}


def check_blocks(lvlm: LVLM) -> None:
    """Whether blocks can be taken out one by one: each whose Linears are zero hands on what it was given.

    Raises:
        ValueError: naming a decoder of which that is not known, or a bias that stays.
    """
    require_type(lvlm, "blocks", KNOWN)
    if (kind := decoder_config(lvlm.model.config).model_type) in _PLACED:
        raise ValueError(f"pattern: blocks of {kind} cannot be removed, since what enters between them goes by place")
    for name, linear in lvlm.linears.items():
        if name.endswith((".o_proj", ".down_proj")) and isinstance(linear, nn.Linear) and linear.bias is not None:
            raise ValueError(f"pattern: no block can be removed, since {name} has a bias, which zero weights leave")


def members(lvlm: LVLM, structure: Structure) -> list[str]:
    """Full names of all Linears that have a part in the structure."""
    return [name for name in lvlm.linears if structure.side(name)]


def require_type(lvlm: LVLM, what: str, types: Sequence[str]) -> None:
    """Checks that the decoder is of one of the types that were tried.

    Raises:
        ValueError: naming its type, and these.
    """
    kind = decoder_config(lvlm.model.config).model_type
    if kind not in types:
        raise ValueError(
            f"pattern: {what} of the decoder type {kind} cannot be removed; types whose smaller models were tried: "
            f"{', '.join(types)}"
        )


def _found(lvlm: LVLM, structure: Structure) -> Structure:
    require_type(lvlm, structure.name, KNOWN)
    for block in range(len(lvlm.blocks)):
        for name in structure.sides:
            if (full := f"{lvlm.blocks_name}.{block}.{structure.module}.{name}") not in lvlm.linears:
                raise ValueError(f"pattern: {structure.name} cannot be removed, since there is no Linear {full}")
    return structure
