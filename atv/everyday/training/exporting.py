"""From what the stages learned to the file that ships: factors in bfloat16, the projector in float32."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from atv.everyday.assembly.digest import model_digest
from atv.everyday.assembly.trained_updates import Factors, Updates, base_digests, merge, write_updates


def collected(learned: Mapping[str, Tensor]) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """Factors of Linears, and parameters that are replaced, out of ``updates`` of one or several stages."""
    linears = [name.removesuffix(".down") for name in learned if name.endswith(".down")]
    factors = {name: Factors(learned[f"{name}.down"].bfloat16(), learned[f"{name}.up"].bfloat16()) for name in linears}
    whole = {name: value for name, value in learned.items() if not name.endswith((".down", ".up"))}
    return factors, whole


def export(base: LlavaForConditionalGeneration, stages: list[Path], recipe: Mapping[str, Any], file: Path) -> None:
    """Writes ``file`` with what the stages' updates.safetensors hold, later ones last, and merges it into ``base``.

    Args:
        base: the untrained model.
        recipe: how it was trained, for people.
    """
    learned: dict[str, Tensor] = {}
    for stage in stages:
        learned |= load_file(stage)
    factors, whole = collected(learned)
    made = Updates(factors, whole, 1.0, base_digests(base), None, recipe)
    merge(base, made)
    write_updates(replace(made, merged=model_digest(base)), file)
