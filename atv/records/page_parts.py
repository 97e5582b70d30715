"""Building blocks of result pages: templates, Markdown tables, and pictures embedded in the page itself."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(room: str, name: str, filters: Mapping[str, Any]) -> Template:
    """Loads a template from the folder ``templates`` of a package of atv; HTML templates escape their values."""
    environment = Environment(
        loader=PackageLoader(f"atv.{room}"),
        autoescape=".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table in Markdown.

    >>> print(markdown(["block", "drift"], [[0, 0.5]]))
    | block | drift |
    |---|---|
    | 0 | 0.5 |
    """
    lines = [header, *rows]
    written_lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([written_lines[0], "|" + "---|" * len(header), *written_lines[1:]])


def data_url(content: bytes, image_format: str) -> str:
    """Returns a data URL (RFC 2397) that contains a whole picture, for an ``<img>``.

    Args:
        content: bytes of the picture's file.
        image_format: "png" or "jpeg".

    >>> data_url(b"picture", "png")
    'data:image/png;base64,cGljdHVyZQ=='
    """
    return f"data:image/{image_format};base64,{base64.b64encode(content).decode()}"
