"""Describes the calibration data of a report in words."""

from collections.abc import Mapping, Sequence
from typing import Any


def in_words(data: Mapping[str, Any], counts: Sequence[int] = ()) -> str:
    """Describes a source by class and arguments; a mixture by its sources, their weights and, if known, samples.

    >>> in_words({"class": "CaptionedImages", "folder": "pictures", "caption": None})
    'CaptionedImages (folder pictures)'
    >>> sources = [{"class": "Bundled"}, {"class": "Everyday"}]
    >>> in_words({"class": "Mixture", "sources": sources, "weights": [3, 1]}, [6, 2])
    'Bundled (weight 3, 6 samples) + Everyday (weight 1, 2 samples)'
    """
    if _is_mixture(data):
        samples = [*counts, *[0] * (len(data["sources"]) - len(counts))]
        told = [f", {count} samples" if counts else "" for count in samples]
        parts = zip(data["sources"], data["weights"], told, strict=False)
        return " + ".join(f"{in_words(source)} (weight {weight:g}{count})" for source, weight, count in parts)
    given = {name: value for name, value in data.items() if name != "class" and value is not None}
    said = (f"{name} {in_words(value) if isinstance(value, Mapping) else value}" for name, value in given.items())
    listed = ", ".join(said)
    kind = data.get("class", "unknown")
    return f"{kind} ({listed})" if listed else str(kind)


def _is_mixture(data: Mapping[str, Any]) -> bool:
    """Whether the data hold sources with a weight each; a file may hold anything under these names."""
    sources, weights = data.get("sources"), data.get("weights")
    if not isinstance(sources, list) or not isinstance(weights, list) or len(sources) != len(weights):
        return False
    return all(isinstance(one, Mapping) for one in sources) and all(isinstance(one, int | float) for one in weights)
