"""What the ablations were run on, and where they differ in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from atv.data.source_words import in_words
from atv.reporting.section import Section

FIELDS = {
    "model": "Model",
    "calibration": "Calibration data",
    "samples": "Calibration samples",
    "evaluation": "Questions",
    "split": "Split",
    "groups": "Groups a task",
    "seeds": "Seeds",
    "hardware": "Hardware",
    "git": "Revision",
    "versions": "Versions",
}


def setup(run: Mapping[str, Any]) -> dict[str, str]:
    """Heading -> value in words, of what run.json says."""
    return {heading: _worded(field, run[field]) for field, heading in FIELDS.items() if field in run}


def shared(sections: Sequence[Section]) -> dict[str, str]:
    """What all sections have in common."""
    return {heading: next(iter(by_value)) for heading, by_value in _values(sections).items() if len(by_value) == 1}


def differing(sections: Sequence[Section]) -> dict[str, dict[str, list[str]]]:
    """Heading -> value -> names of the sections that have it, where there is more than one value."""
    return {heading: by_value for heading, by_value in _values(sections).items() if len(by_value) > 1}


def _values(sections: Sequence[Section]) -> dict[str, dict[str, list[str]]]:
    by_heading: dict[str, dict[str, list[str]]] = {heading: {} for heading in FIELDS.values()}
    for section in sections:
        described = setup(section.run)
        for heading, by_value in by_heading.items():
            by_value.setdefault(described.get(heading, "not recorded"), []).append(section.name)
    return by_heading


def _worded(field: str, value: Any) -> str:
    match field:
        case "seeds":
            return ", ".join(map(str, value))
        case "groups":
            return "all" if value is None else f"first {value:,}"
        case "samples":
            return f"{value:,}"
        case "git":
            return f"{value[:-1]}, with changes that are not committed" if value.endswith("+") else value
        case "calibration" if isinstance(value, dict):
            return in_words(value)
        case "versions":
            return ", ".join(f"{name} {version}" for name, version in value.items())
    return str(value)
