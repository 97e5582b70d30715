"""Pictures of any kind of source, decoded: upright, in 8 bits, RGB."""

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

# How names of pictures end. Which of them are read is Pillow's affair: AVIF since 11.3, HEIC with a plug-in of its own.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm"),
    *(".tga", ".heic", ".heif", ".hif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw"),
)
# How files of each kind begin: JPEG, PNG, GIF, WebP, BMP, TIFF.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
# A path is shorter, even one that happens to be written in the letters of base64.
_SHORTEST_BASE64 = 64


def opens(file: Path) -> bool:
    """Whether Pillow, as it is installed here, opens files of this name's ending."""
    return file.suffix.lower() in Image.registered_extensions()


def decode(picture: Any, root: Path | None = None) -> Image.Image:
    """The whole picture as RGB, upright (by its EXIF orientation) and in 8 bits (see ``eight_bit``).

    Args:
        picture: as ``Picture``, or whatever ``undecoded`` takes for one.
        root: folder of relative paths, as there.

    Raises:
        ValueError: for a file that is missing, cut off, or no picture, and for a cell with none or several.
    """
    if not isinstance(picture, Image.Image | Path | bytes):
        (picture,) = _only(undecoded(picture, root))
    try:
        opened: Any = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        image = picture if isinstance(picture, Image.Image) else Image.open(opened)
        return eight_bit(_upright(image)).convert("RGB")
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to.
        raise _unreadable(picture, error) from error


def header(picture: Picture) -> tuple[int, int]:
    """Width and height from the first bytes, without decoding.

    Raises:
        ValueError: for a file that is missing, empty or no picture.
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
    """The pictures of a cell of a data set whose pictures are not decoded: none, one, or a list.

    A picture is bytes, a path, base64 (bare, or a data URL), a struct of bytes and path, or decoded already; a list may
    be JSON in a text.

    Args:
        root: folder of relative paths; default: the working folder.

    Raises:
        ValueError: for a value that is no picture, or a URL, since nothing is fetched unasked.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        return undecoded(_of_struct(value), root)
    if isinstance(value, str) and value.startswith("[") and isinstance(listed := parsed(value), list):
        return undecoded(listed, root)
    if isinstance(value, str):
        return [_of_text(value, root)] if value.strip() else []
    if isinstance(value, bytes | bytearray | memoryview):
        if not (content := bytes(value)):
            raise ValueError("a picture of no bytes")
        # Megabytes of a picture's own bytes are not worth a text: letters of base64 are ASCII.
        spelled = _of_base64(content.decode("ascii")) if content.isascii() else None
        return [spelled or content]
    if isinstance(value, Sequence):
        return [picture for one in value for picture in undecoded(one, root)]
    if isinstance(value, Path):
        return [_beside(value, root)]
    if isinstance(value, Image.Image):
        return [value]
    raise ValueError(f"a {type(value).__name__} ({quoted(value)}) is no picture; known are bytes, paths and base64")


def eight_bit(image: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits in 8, which Pillow's own conversion clips to black and white.

    16 bits are divided by 257. Of 32-bit integers and floats the file does not say what white is: floats within 0 to 1
    are multiplied by 255, values within 0 to 255 stay, those within 0 to 65,535 are divided by 257, and others are
    stretched from their least to their greatest.

    Raises:
        ValueError: for values that are not finite.
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
    # Pillow names an object in memory there, which is another one in every run.
    unknown = isinstance(error, UnidentifiedImageError)
    why = "it begins like no kind of picture that is known" if unknown else reason(error)
    shown = f" {quoted(str(picture), 120)}" if isinstance(picture, Path) else ""
    return ValueError(f"picture{shown} cannot be read: {why}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # An orientation that cannot be read is none; pixels that cannot be, fail when they are read.
        return image


def _of_struct(value: Mapping[str, Any]) -> Any:
    """What the struct has of a picture: bytes before a path; an ``image_url`` of chat messages holds a struct again."""
    for key in ("bytes", "path", "image", "url", "image_url", "base64", "data"):
        if value.get(key) is not None:
            return value[key]
    if "bytes" in value or "path" in value:
        return None
    raise ValueError(f"a picture without bytes and path; there are {quoted(', '.join(map(str, value)))}")


def _of_text(text: str, root: Path | None) -> Picture:
    if text.startswith("data:"):
        content = _of_base64(text.partition(",")[2])
        if content is None:
            raise ValueError(f"{quoted(text)} holds no picture in base64")
        return content
    if text.startswith(("http://", "https://")):
        raise ValueError(f"{quoted(text)} is a URL, and nothing is fetched; give the picture's bytes or a path")
    path = unquote(text.removeprefix("file://")) if text.startswith("file://") else text
    return _of_base64(text) or _beside(Path(path), root)


def _of_base64(text: str) -> bytes | None:
    """The picture that the text spells; None where it spells none."""
    if len(text) < _SHORTEST_BASE64:
        return None
    try:
        beginning = base64.b64decode(_letters(text.lstrip()[:_SHORTEST_BASE64])[:16], validate=True)
        # AVIF and HEIC have a length before their name.
        if not beginning.startswith(_BEGINNINGS) and beginning[4:8] != b"ftyp":
            return None
        return base64.b64decode(_letters(text).rstrip("=") + "==")
    except (binascii.Error, ValueError):
        return None


def _letters(text: str) -> str:
    """Base64 in its common alphabet, without line breaks."""
    return "".join(text.translate({ord("-"): "+", ord("_"): "/"}).split())


def _beside(path: Path, root: Path | None) -> Path:
    return path if root is None or path.is_absolute() else root / path


def _only(pictures: list[Picture]) -> list[Picture]:
    if len(pictures) != 1:
        raise ValueError(f"expected one picture, got {len(pictures)}")
    return pictures
