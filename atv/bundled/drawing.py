"""Draws a scene as a 54 x 54 picture; digits are real handwriting from scikit-learn."""

from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from atv.bundled.scenes import Scene, Split, Thing

CELL = 18
SIDE = 3 * CELL
RGB = {
    "red": (225, 40, 40),
    "orange": (240, 140, 20),
    "yellow": (240, 230, 50),
    "green": (40, 170, 60),
    "blue": (50, 90, 235),
    "purple": (140, 50, 190),
    "pink": (250, 150, 200),
    "white": (240, 240, 240),
}


@cache
def handwriting(split: Split) -> dict[str, list[NDArray[np.float32]]]:
    """Returns the 8 x 8 images of each digit, with values in 0..1; of every ten, two are for dev and two for test."""
    remainders = {"dev": (0, 1), "test": (2, 3), "train": (4, 5, 6, 7, 8, 9)}[split]
    data = load_digits()
    images: dict[str, list[NDArray[np.float32]]] = {str(digit): [] for digit in range(10)}
    for index, (image, digit) in enumerate(zip(data.images, data.target, strict=True)):
        if index % 10 in remainders:
            images[str(digit)].append((image / 16).astype(np.float32))
    return images


@cache
def stencil(shape: str, size: int) -> NDArray[np.float32]:
    """Returns the coverage of a shape, (size, size) in 0..1, drawn at four times the size and averaged."""
    end = 4 * size - 1
    mid, third = end / 2, end / 3
    picture = Image.new("L", (4 * size, 4 * size))
    pen = ImageDraw.Draw(picture)
    if shape in ("circle", "ring"):
        pen.ellipse((0, 0, end, end), fill=255)
    elif shape in ("square", "frame"):
        pen.rectangle((0, 0, end, end), fill=255)
    elif shape == "triangle":
        pen.polygon([(mid, 0), (end, end), (0, end)], fill=255)
    elif shape == "diamond":
        pen.polygon([(mid, 0), (end, mid), (mid, end), (0, mid)], fill=255)
    elif shape == "cross":
        pen.rectangle((third, 0, 2 * third, end), fill=255)
        pen.rectangle((0, third, end, 2 * third), fill=255)
    else:
        turns = np.arange(10) * np.pi / 5 - np.pi / 2
        radii = np.where(np.arange(10) % 2 == 0, mid, 0.4 * mid)
        pen.polygon([(mid + r * np.cos(t), mid + r * np.sin(t)) for r, t in zip(radii, turns, strict=True)], fill=255)
    hole = (0.27 * end, 0.27 * end, 0.73 * end, 0.73 * end)
    if shape == "ring":
        pen.ellipse(hole, fill=0)
    elif shape == "frame":
        pen.rectangle(hole, fill=0)
    small = picture.resize((size, size), Image.Resampling.BOX)
    return np.divide(np.asarray(small), 255, dtype=np.float32)


def coverage(thing: Thing, split: Split, rng: Generator) -> NDArray[np.float32]:
    """Returns how much of each pixel of its cell, (18, 18), the thing covers, at a random size and offset."""
    size = int(rng.integers(12, 16))
    if thing.is_digit:
        images = handwriting(split)[thing.kind]
        image = Image.fromarray(images[int(rng.integers(len(images)))]).resize((size, size), Image.Resampling.BILINEAR)
        mask = np.asarray(image.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR))
    else:
        mask = stencil(thing.kind, size)
    cell = np.zeros((CELL, CELL), dtype=np.float32)
    top, left = rng.integers(1, CELL - size, size=2)
    cell[top : top + size, left : left + size] = mask
    return cell


def draw(scene: Scene, rng: Generator) -> Image.Image:
    """Draws the scene as an RGB picture with random shades, sizes and offsets, and with noise."""
    split = scene.split
    canvas = np.full((SIDE, SIDE, 3), float(rng.integers(10, 60)), dtype=np.float32)
    for thing in scene.things:
        rows = slice(thing.row * CELL, (thing.row + 1) * CELL)
        columns = slice(thing.column * CELL, (thing.column + 1) * CELL)
        mask = coverage(thing, split, rng)[..., None]
        color = np.asarray(RGB[thing.color], dtype=np.float32) * rng.uniform(0.85, 1.0) + rng.normal(0, 6, 3)
        cell = canvas[rows, columns] * (1 - mask) + color.astype(np.float32) * mask
        if thing.smudged:
            cell = np.full_like(cell, 110) + rng.normal(0, 35, (CELL, CELL, 1))
        canvas[rows, columns] = cell
    canvas += rng.normal(0, 8, canvas.shape)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
