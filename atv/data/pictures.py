"""Decodes pictures from any kind of source to upright 8-bit RGB."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from atv.data.base import Picture
from atv.data.text_files import parsed
from atv.data.wording import quoted, reason

# Suffixes of pictures. Pillow decides which of them can be read: AVIF since 11.3, HEIC with a separate plug-in.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm"),
    *(".tga", ".heic", ".heif", ".hif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw"),
)
# First bytes of each format: JPEG, PNG, GIF, WebP, BMP, TIFF.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
# Paths are shorter than this, even those that consist of base64 characters only.
_SHORTEST_BASE64 = 64


def opens(file: Path) -> bool:
    """Whether the installed Pillow opens files with this suffix."""
    return file.suffix.lower() in Image.registered_extensions()


def decode(picture: Any, root: Path | None = None) -> Image.Image:
    """Decodes the whole picture to RGB, upright (by its EXIF orientation) and in 8 bits (see ``eight_bit``).

    Args:
        picture: a ``Picture``, or anything that ``undecoded`` accepts as one.
        root: folder that relative paths start from, as in ``undecoded``.

    Raises:
        ValueError: if a file is missing, truncated or not a picture, or a cell holds none or several.
    """
    if not isinstance(picture, Image.Image | Path | bytes):
        (picture,) = _require_one(undecoded(picture, root))
    try:
        opened: Any = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        image = picture if isinstance(picture, Image.Image) else Image.open(opened)
        return eight_bit(_upright(image)).convert("RGB")
    except Exception as error:  # Pillow's decoders can raise anything on a broken file.
        raise _unreadable(picture, error) from error


def header(picture: Picture) -> tuple[int, int]:
    """Reads width and height from the first bytes, without decoding.

    Raises:
        ValueError: if a file is missing, empty or not a picture.
    """
    if isinstance(picture, Image.Image):
        return picture.size
    try:
        opened: Any = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        with Image.open(opened) as image:
            return image.size
    except Exception as error:  # As above.
        raise _unreadable(picture, error) from error


def undecoded(value: Any, root: Path | None = None) -> list[Picture]:
    """Returns the pictures in a cell of an undecoded data set: none, one or several.

    A picture can be bytes, a path, base64 (bare, or a data URL), a struct of bytes and path, or already decoded. A
    list may be JSON text.

    Args:
        root: folder that relative paths start from. Default: the working folder.

    Raises:
        ValueError: if a value is not a picture, or is a URL, since nothing is downloaded unasked.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        return undecoded(_picture_of_struct(value), root)
    if isinstance(value, str) and value.startswith("[") and isinstance(items := parsed(value), list):
        return undecoded(items, root)
    if isinstance(value, str):
        return [_picture_of_text(value, root)] if value.strip() else []
    if isinstance(value, bytes | bytearray | memoryview):
        if not (content := bytes(value)):
            raise ValueError("a picture with no bytes")
        # Base64 is ASCII, so the raw bytes of a picture, often megabytes, need not become text.
        decoded = _picture_of_base64(content.decode("ascii")) if content.isascii() else None
        return [decoded or content]
    if isinstance(value, Sequence):
        return [picture for item in value for picture in undecoded(item, root)]
    if isinstance(value, Path):
        return [_under_root(value, root)]
    if isinstance(value, Image.Image):
        return [value]
    raise ValueError(
        f"a value of type {type(value).__name__} ({quoted(value)}) is not a picture; expected bytes, a path or base64"
    )


def eight_bit(image: Image.Image) -> Image.Image:
    """Converts 16-bit and 32-bit greyscale pictures to 8 bits; Pillow's own conversion clips them to black and white.

    16-bit values are divided by 257. For 32-bit integers and floats, the file does not say which value is white:
    floats within 0 to 1 are multiplied by 255, values within 0 to 255 are kept, values within 0 to 65,535 are divided
    by 257, and all others are stretched from their minimum to their maximum.

    Raises:
        ValueError: if a value is not finite.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        values /= 257
    elif image.mode == "F" and low >= 0 and high <= 1:
        values *= 255
    elif low < 0 or high > 65535:
        values = (values - low) * (255 / ((high - low) or 1))
    elif high > 255:
        values /= 257
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _unreadable(picture: Any, error: Exception) -> ValueError:
    # Pillow's message names an object by its memory address, which differs in every run.
    unknown_format = isinstance(error, UnidentifiedImageError)
    cause = "its first bytes match no known picture format" if unknown_format else reason(error)
    path_text = f" {quoted(str(picture), 120)}" if isinstance(picture, Path) else ""
    return ValueError(f"picture{path_text} cannot be read: {cause}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # An unreadable orientation counts as none; unreadable pixels fail when they are read.
        return image


def _picture_of_struct(value: Mapping[str, Any]) -> Any:
    """Returns a struct's picture, bytes before a path; an ``image_url`` of chat messages holds another struct."""
    for key in ("bytes", "path", "image", "url", "image_url", "base64", "data"):
        if value.get(key) is not None:
            return value[key]
    if "bytes" in value or "path" in value:
        return None
    raise ValueError(f"a picture without bytes or path; found {quoted(', '.join(map(str, value)))}")


def _picture_of_text(text: str, root: Path | None) -> Picture:
    if text.startswith("data:"):
        content = _picture_of_base64(text.partition(",")[2])
        if content is None:
            raise ValueError(f"{quoted(text)} holds no picture in base64")
        return content
    if text.startswith(("http://", "https://")):
        raise ValueError(f"{quoted(text)} is a URL, which atv does not fetch; give the picture's bytes or a path")
    path = unquote(text.removeprefix("file://")) if text.startswith("file://") else text
    return _picture_of_base64(text) or _under_root(Path(path), root)


def _picture_of_base64(text: str) -> bytes | None:
    """Returns the picture that the text encodes; None if it encodes none."""
    if len(text) < _SHORTEST_BASE64:
        return None
    try:
        beginning = base64.b64decode(_standard_base64(text.lstrip()[:_SHORTEST_BASE64])[:16], validate=True)
        # AVIF and HEIC start with a length, before the name of the format.
        if not beginning.startswith(_BEGINNINGS) and beginning[4:8] != b"ftyp":
            return None
        return base64.b64decode(_standard_base64(text).rstrip("=") + "==")
    except (binascii.Error, ValueError):
        return None


def _standard_base64(text: str) -> str:
    """Returns base64 in its standard alphabet, without line breaks."""
    return "".join(text.translate({ord("-"): "+", ord("_"): "/"}).split())


def _under_root(path: Path, root: Path | None) -> Path:
    return path if root is None or path.is_absolute() else root / path


def _require_one(pictures: list[Picture]) -> list[Picture]:
    if len(pictures) != 1:
        raise ValueError(f"expected one picture, got {len(pictures)}")
    return pictures
