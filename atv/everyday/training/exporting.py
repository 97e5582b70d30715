"""From what the stages learned to the file that ships: factors in bfloat16, the projector in float32."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from transformers import LlavaForConditionalGeneration

from atv.everyday.assembly.trained_updates import (
    Factors,
    Updates,
    base_digests,
    merge,
    read_updates,
    write_updates,
)
from atv.records.digests import model_digest


def collected(learned: Mapping[str, Tensor]) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """Factors of Linears, and parameters that are replaced, out of ``updates`` of one or several stages."""
    linears = [name.removesuffix(".down") for name in learned if name.endswith(".down")]
    factors = {name: Factors(learned[f"{name}.down"].bfloat16(), learned[f"{name}.up"].bfloat16()) for name in linears}
    whole = {name: value for name, value in learned.items() if not name.endswith((".down", ".up"))}
    return factors, whole


def learned(file: Path, part: str = "") -> dict[str, Tensor]:
    """Out of a file that ships, in float32: what ``collected`` took apart, of names that begin with ``part``."""
    made = read_updates(file)
    parts = {f"{name}.{which}": value for name, own in made.factors.items() for which, value in vars(own).items()}
    return {name: value.float() for name, value in (parts | dict(made.whole)).items() if name.startswith(part)}


def export(base: LlavaForConditionalGeneration, parameters: Mapping[str, Tensor], recipe: str, file: Path) -> None:
    """Writes the file that ships, and in it the digest of the model that it gives.

    Args:
        base: the untrained model; changed in place into the trained one.
        parameters: what all stages learned, by name.
        recipe: how, for people.
    """
    factors, whole = collected(parameters)
    made = Updates(factors, whole, 1.0, base_digests(base), None, {"command": recipe})
    merge(base, made)
    write_updates(replace(made, merged=model_digest(base)), file)
