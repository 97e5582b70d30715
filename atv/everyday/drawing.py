"""Draws a scene as a picture of 168 x 168 pixels."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_digits

from atv.bundled.scenes import pick
from atv.everyday.scenes import CELL, SIDE, Item, Scene, Split
from atv.everyday.things import Drawing, picture

FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono-Bold.ttf")
BACKGROUNDS = ("plain", "fade", "stripes", "checks", "landscape", "blotches")


@cache
def handwritten(split: Split, digit: str) -> tuple[Image.Image, ...]:
    """Returns scikit-learn's 8 x 8 images of a digit, as opacity; of every ten, two are for dev and two for test."""
    remainders = {"dev": (0, 1), "test": (2, 3), "unseen": (2, 3), "train": (4, 5, 6, 7, 8, 9)}[split]
    data = load_digits()
    return tuple(
        Image.fromarray((image * 15.9).astype(np.uint8))
        for index, (image, label) in enumerate(zip(data.images, data.target, strict=True))
        if index % 10 in remainders and str(label) == digit
    )


def draw(scene: Scene, rng: Generator) -> Image.Image:
    """Draws the scene in RGB on a random background; things are mirrored and tilted at random."""
    canvas = background(rng).convert("RGBA")
    for item in scene.items:
        canvas.alpha_composite(_DRAW_BY_FORM[item.form](item, scene.split, rng), _corner(item))
        if item.blurred:
            area = (item.column * CELL, item.row * CELL, (item.column + 1) * CELL, (item.row + 1) * CELL)
            canvas.paste(canvas.crop(area).filter(ImageFilter.GaussianBlur(9)), area)
    pixels = np.asarray(canvas.convert("RGB"), dtype=np.float32)
    return Image.fromarray((pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8))


def covered(scene: Scene, rng: Generator) -> NDArray[np.int64]:
    """Returns which item covers each pixel: (168, 168), with the item's number in the scene, or -1 for background.

    ``rng`` must be in the same state as when it was passed to ``draw``.
    """
    background(rng)
    item_numbers = np.full((SIDE, SIDE), -1)
    for item_number, item in enumerate(scene.items):
        opaque = np.asarray(_DRAW_BY_FORM[item.form](item, scene.split, rng))[..., 3] > 127
        left, top = _corner(item)
        item_numbers[top : top + opaque.shape[0], left : left + opaque.shape[1]][opaque] = item_number
    return item_numbers


def _corner(item: Item) -> tuple[int, int]:
    return item.column * CELL + item.left, item.row * CELL + item.top


def _draw_thing(item: Item, split: Split, rng: Generator) -> Image.Image:
    drawing = Image.fromarray(picture(Drawing(item.thing, item.style)))
    if rng.random() < 0.5:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tilted = drawing.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BICUBIC)
    return tilted.resize((item.size, item.size), Image.Resampling.LANCZOS)


def _card(rng: Generator, width: int, height: int) -> tuple[Image.Image, tuple[int, ...]]:
    """Returns a blank sign board and the colour of its writing: dark on light or light on dark."""
    light, dark = (tuple(int(value) for value in rng.integers(*bounds, 3)) for bounds in ((205, 256), (0, 110)))
    board, ink = (light, dark) if rng.random() < 0.6 else (dark, light)
    card = Image.new("RGBA", (width, height))
    ImageDraw.Draw(card).rounded_rectangle((0, 0, width - 1, height - 1), radius=3, fill=board, outline=ink)
    return card, ink


@cache
def _font(font_number: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", FONTS[font_number]), size)


def _draw_word(item: Item, split: Split, rng: Generator) -> Image.Image:
    """Draws a sign as wide as the item, with the largest letters that fit."""
    text = item.name.upper() if rng.random() < 0.5 else item.name
    size = next(size for size in range(22, 6, -1) if _font(int(item.style), size).getlength(text) <= item.size - 6)
    card, ink = _card(rng, item.size, size + 10)
    pen = ImageDraw.Draw(card)
    pen.text((item.size / 2, size / 2 + 5), text, font=_font(int(item.style), size), fill=ink, anchor="mm")
    return card


def _draw_digit(item: Item, split: Split, rng: Generator) -> Image.Image:
    samples = handwritten(split, item.name)
    image = samples[int(item.style) % len(samples)].resize((item.size - 4,) * 2, Image.Resampling.BICUBIC)
    card, ink = _card(rng, item.size, item.size)
    card.paste(Image.new("RGBA", image.size, ink), (2, 2), image)
    return card


_DRAW_BY_FORM: dict[str, Callable[[Item, Split, Generator], Image.Image]] = {
    "thing": _draw_thing,
    "word": _draw_word,
    "digit": _draw_digit,
}


def background(rng: Generator) -> Image.Image:
    """Draws one of six kinds of background, in two similar random colours."""
    first_color = rng.uniform(30, 240, 3)
    second_color = (first_color + rng.normal(0, 30, 3)).clip(10, 250)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    pattern = pick(rng, BACKGROUNDS)
    if pattern == "plain":
        share = np.zeros((SIDE, SIDE))
    elif pattern == "fade":
        share = pick(rng, (rows, columns, (rows + columns) / 2))
    elif pattern == "stripes":
        share = (np.sin(2 * np.pi * (rows * rng.uniform(-6, 6) + columns * rng.uniform(-6, 6))) > 0).astype(float)
    elif pattern == "checks":
        share = ((np.floor(rows * 6) + np.floor(columns * 6)) % 2).astype(float)
    elif pattern == "landscape":
        first_color, second_color = rng.normal((150, 200, 240), 15), rng.normal((110, 170, 80), 20)
        share = (rows + 0.05 * np.sin(columns * rng.uniform(3, 12)) > rng.uniform(0.3, 0.7)).astype(float)
    else:
        share = _blotches(rng)
    canvas = first_color + (second_color - first_color) * share[..., None]
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8))


def _blotches(rng: Generator) -> NDArray[np.float64]:
    coarse = Image.fromarray(rng.uniform(0, 1, (7, 7)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
