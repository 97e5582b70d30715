"""Structures that can be removed whole from a decoder, and the config fields that count them, by model type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from atv.model.lvlm import LVLM

# Decoder types whose sizes all follow from the fields below; the tests compare the smaller models' logits.
KNOWN = (
    *("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen2_5_vl_text", "qwen2_vl_text", "qwen3"),
    "qwen3_vl_text",
)

# Picture features are added after the first blocks, whichever these are, so a block depends on its position.
_POSITION_DEPENDENT = ("qwen3_vl_text",)
# Mixtures of experts whose routers have one weight row per expert, and choose by it alone.
MIXTURES = ("gpt_oss", "mixtral", "qwen3_moe", "qwen3_vl_moe_text")
# Fields with one entry per block.
_PER_BLOCK_FIELDS = ("layer_types",)


@dataclass(frozen=True)
class Side:
    """Position of one structure in a Linear's weight: ``width`` consecutive rows (dim 0) or columns (dim 1)."""

    dim: int
    width: int = 1


@dataclass(frozen=True)
class Structure:
    """Parts of several Linears of a module that are removed together; every block has the same number of them.

    Attributes:
        name: plural name, in words.
        module: name of the module that holds the Linears, in each block.
        sides: name of a Linear in the module -> its side. The last Linear, the *reader*, holds the structure in its
            columns: zeros there alone already leave the structure without any influence.
        fields: field of the decoder's config -> how many of what it counts make up one structure.
        fixed: other fields -> their values; transformers derives these from ``fields`` unless they are set.
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
        """Returns the side of a Linear by its full name; None if it has no part in the structure."""
        *_, module, name = ("", *linear.split("."))
        return self.sides.get(name) if module == self.module else None

    def count(self, config: PreTrainedConfig) -> int:
        """Returns the number of structures in a block of the model with this config."""
        field_name, per_structure = next(iter(self.fields.items()))
        return int(getattr(decoder_config(config), field_name)) // per_structure

    def config_fields(self, count: int) -> dict[str, int]:
        """Returns the fields of the decoder's config once ``count`` structures remain in every block."""
        return {name: per_structure * count for name, per_structure in self.fields.items()} | dict(self.fixed)


def decoder_config(config: PreTrainedConfig) -> Any:
    """Returns the config of the decoder: one inside the model's config, or that config itself."""
    return config.get_text_config(decoder=True)


def ffn_channels(lvlm: LVLM) -> Structure:
    """Returns the inner channels of each block's FFN.

    Raises:
        ValueError: if the decoder has none of this form, or its type is unknown; the message names it.
    """
    sides = {"gate_proj": Side(0), "up_proj": Side(0), "down_proj": Side(1)}
    return _checked_structure(lvlm, Structure("FFN channels", "mlp", sides, {"intermediate_size": 1}))


def attention_heads(lvlm: LVLM) -> Structure:
    """Returns the key-value heads of each block's attention, each with the query heads that read it.

    Raises:
        ValueError: as in ``ffn_channels``.
    """
    config = decoder_config(lvlm.model.config)
    query_heads, key_value_heads = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    key_value_heads = key_value_heads or query_heads
    head_size, queries_per_group = (
        getattr(config, "head_dim", None) or config.hidden_size // query_heads,
        query_heads // key_value_heads,
    )
    sides = {
        "q_proj": Side(0, queries_per_group * head_size),
        "k_proj": Side(0, head_size),
        "v_proj": Side(0, head_size),
    }
    sides["o_proj"] = Side(1, queries_per_group * head_size)
    fields = {"num_key_value_heads": 1, "num_attention_heads": queries_per_group}
    return _checked_structure(lvlm, Structure("key-value heads", "self_attn", sides, fields, {"head_dim": head_size}))


def block_lists(config: PreTrainedConfig) -> dict[str, list[Any]]:
    """Returns the fields of the decoder's config that have one entry per block."""
    values = {name: getattr(decoder_config(config), name, None) for name in _PER_BLOCK_FIELDS}
    return {name: list(value) for name, value in values.items() if value is not None}


def check_blocks(lvlm: LVLM) -> None:
    """Checks that blocks can be removed one by one: a block whose Linears are zero returns its input unchanged.

    Raises:
        ValueError: if this is not known of the decoder, or a bias would remain; the message names either.
    """
    require_type(lvlm, "blocks", KNOWN)
    if (model_type := decoder_config(lvlm.model.config).model_type) in _POSITION_DEPENDENT:
        raise ValueError(
            f"pattern: blocks of {model_type} cannot be removed, because picture features enter by block index"
        )
    for name, linear in lvlm.linears.items():
        if name.endswith((".o_proj", ".down_proj")) and isinstance(linear, nn.Linear) and linear.bias is not None:
            raise ValueError(f"pattern: no block can be removed, because zero weights leave the bias of {name}")


def members(lvlm: LVLM, structure: Structure) -> list[str]:
    """Returns the full names of all Linears that have a part in the structure."""
    return [name for name in lvlm.linears if structure.side(name)]


def require_type(lvlm: LVLM, structure: str, types: Sequence[str]) -> None:
    """Checks that the decoder is of one of the tested types.

    Raises:
        ValueError: if it is not; the message names its type and the tested ones.
    """
    model_type = decoder_config(lvlm.model.config).model_type
    if model_type not in types:
        raise ValueError(
            f"pattern: {structure} of the decoder type {model_type} cannot be removed; types whose smaller models were "
            f"tested: {', '.join(types)}"
        )


def _checked_structure(lvlm: LVLM, structure: Structure) -> Structure:
    require_type(lvlm, structure.name, KNOWN)
    for block in range(len(lvlm.blocks)):
        for name in structure.sides:
            if (full_name := f"{lvlm.blocks_name}.{block}.{structure.module}.{name}") not in lvlm.linears:
                raise ValueError(f"pattern: {structure.name} cannot be removed, because there is no Linear {full_name}")
    return structure
