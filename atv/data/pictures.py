"""Pictures of any kind of source, decoded."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from atv.data.base import Picture


def decode(picture: Picture) -> Image.Image:
    """The whole picture as RGB.

    Raises:
        ValueError: for a file that is missing, cut off, or no picture.
    """
    try:
        opened: Any = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        image = picture if isinstance(picture, Image.Image) else Image.open(opened)
        return image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to.
        shown = f" {str(picture)!r}" if isinstance(picture, Path) else ""
        raise ValueError(f"picture{shown} cannot be read: {error}") from error


def undecoded(value: Any) -> list[Picture]:
    """The pictures of a cell of a data set whose pictures are not decoded: none, one, or a list."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [value["bytes"] if value.get("bytes") is not None else Path(value["path"])]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [picture for one in value for picture in undecoded(one)]
    return [Path(value) if isinstance(value, str) else value]
