"""Scores that ``atv evaluate`` wrote, as a sidecar keeps them."""

import json
from pathlib import Path
from typing import Any


def read_scores(file: Path) -> dict[str, dict[str, Any]]:
    """Benchmark -> its ``score`` as it is reported, ``of`` how many questions, ``version``, and what was ``kept``.

    ``kept`` is None unless the evaluation was told of the dense model's. The bundled suite's tasks count as benchmarks.

    Raises:
        ValueError: for a file that is not there, or holds no scores.
    """
    if not file.is_file():
        raise ValueError(f"scores: no such file {str(file)!r}; `atv evaluate --output` writes scores.json")
    found = json.loads(file.read_text())
    kept = found.get("retention", {})
    rows = {
        name: {"score": row["score"], "of": row["of"], "version": row["version"]}
        for name, row in found.get("benchmarks", {}).items()
    }
    rows |= {
        name: {"score": 100 * row["score"], "of": row["questions"], "version": f"bundled, {found['split']}"}
        for name, row in found.get("tasks", {}).items()
    }
    if not rows:
        raise ValueError(f"scores: {str(file)!r} holds none")
    return {name: row | {"kept": kept.get(name)} for name, row in rows.items()}
