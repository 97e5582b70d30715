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
        sample_counts = [*counts, *[0] * (len(data["sources"]) - len(counts))]
        count_texts = [f", {count} samples" if counts else "" for count in sample_counts]
        entries = zip(data["sources"], data["weights"], count_texts, strict=False)
        return " + ".join(f"{in_words(source)} (weight {weight:g}{count})" for source, weight, count in entries)
    arguments = {name: value for name, value in data.items() if name != "class" and value is not None}
    argument_texts = (
        f"{name} {in_words(value) if isinstance(value, Mapping) else value}" for name, value in arguments.items()
    )
    argument_list = ", ".join(argument_texts)
    class_name = data.get("class", "unknown")
    return f"{class_name} ({argument_list})" if argument_list else str(class_name)


def _is_mixture(data: Mapping[str, Any]) -> bool:
    """Whether the data hold sources with a weight each; a file may hold anything under these names."""
    sources, weights = data.get("sources"), data.get("weights")
    if not isinstance(sources, list) or not isinstance(weights, list) or len(sources) != len(weights):
        return False
    return all(isinstance(item, Mapping) for item in sources) and all(isinstance(item, int | float) for item in weights)
