"""A family of drawings: one artist's picture of every emoji, asked for by its code points."""

import io
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from PIL import Image

from atv.everyday.rendering.packages import FLUENT_3D, FLUENT_FLAT, NOTO, TWEMOJI, Package

OVERSAMPLING = 2  # vectors are drawn at twice the size and then reduced, which softens thin lines


def plain(hexcode: str) -> str:
    """Code points such as "2708-fe0f" in lower case, without the selector that only asks for an emoji's look."""
    return "-".join(point for point in hexcode.lower().split("-") if point != "fe0f")


class Family(ABC):
    """All drawings of one artist in one technique."""

    @abstractmethod
    def draw(self, hexcode: str, size: int) -> Image.Image:
        """The drawing in RGBA at ``size`` x ``size`` pixels; KeyError where the family has none."""


class Vectors(Family):
    """SVG drawings out of an Iconify package, rendered with resvg."""

    def __init__(self, package: Package, folder: Path) -> None:
        files = package.read(folder, "")
        self._icons: dict[str, Any] = json.loads(files["icons.json"])
        self._names = {plain(points): name for points, name in json.loads(files["chars.json"]).items()}

    def svg(self, hexcode: str) -> str:
        """The drawing as a whole SVG document."""
        name = self._names[hexcode]
        while name not in self._icons["icons"]:
            name = self._icons["aliases"][name]["parent"]
        icon = self._icons["icons"][name]
        width, height = (icon.get(side, self._icons[side]) for side in ("width", "height"))
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">{icon["body"]}</svg>'
        )

    def draw(self, hexcode: str, size: int) -> Image.Image:
        import resvg_py

        large = size * OVERSAMPLING
        png = resvg_py.svg_to_bytes(svg_string=self.svg(hexcode), width=large, height=large, skip_system_fonts=True)
        with Image.open(io.BytesIO(bytes(png))) as picture:
            return picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)


class Pictures(Family):
    """WebP drawings, a file each, named by code points."""

    def __init__(self, package: Package, folder: Path) -> None:
        self._files = {plain(Path(path).stem): content for path, content in package.read(folder, "assets/").items()}

    def draw(self, hexcode: str, size: int) -> Image.Image:
        with Image.open(io.BytesIO(self._files[hexcode])) as picture:
            return picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)


def read_families(folder: Path) -> dict[str, Family]:
    """The four families by name, out of the archives in ``folder``.

    Raises:
        ValueError: if an archive is missing or is another one.
    """
    return {
        "noto": Vectors(NOTO, folder),
        "flat": Vectors(FLUENT_FLAT, folder),
        "three_d": Pictures(FLUENT_3D, folder),
        "twemoji": Vectors(TWEMOJI, folder),
    }
