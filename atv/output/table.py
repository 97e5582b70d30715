"""Tables of a model card."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown.

    >>> print(markdown(["block", "drift"], [[0, 0.5]]))
    | block | drift |
    |---|---|
    | 0 | 0.5 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])


def shares(report: Mapping[str, Any], *fields: str) -> dict[Any, float]:
    """Share of the weights pruned by ``block``, ``kind`` or both: keys are values, or pairs of them."""
    pruned: dict[Any, float] = defaultdict(float)
    total: dict[Any, int] = defaultdict(int)
    for name, row in report["targets"].items():
        values = {"block": row["block"], "kind": name.rsplit(".", 1)[-1]}
        key = tuple(values[field] for field in fields) if len(fields) > 1 else values[fields[0]]
        pruned[key] += row["sparsity"] * prod(row["shape"])
        total[key] += prod(row["shape"])
    return {key: pruned[key] / total[key] for key in sorted(total)}
