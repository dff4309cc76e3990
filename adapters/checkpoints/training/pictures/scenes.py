"""Draws scenes: flat shapes in plain colours on a shaded ground, with all that is true of them.

Everything is drawn from a numpy generator, so that a seed gives the same pictures on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SIZE = 64
SHAPES = ("circle", "square", "triangle")
COLOURS = {"red": (210, 50, 45), "green": (50, 165, 70), "blue": (55, 85, 205), "yellow": (230, 205, 60)}
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)

Picture = NDArray[np.uint8]
Field = NDArray[np.float64]

_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE] + 0.5


@dataclass(frozen=True)
class Thing:
    """One shape: its kind, its colour, its centre and half its width in pixels, how far away it is (1 near, 4 far)."""

    shape: int
    colour: int
    x: float
    y: float
    radius: float
    distance: float = 1.0

    @property
    def label(self) -> int:
        """Its place in ``NAMES``."""
        return self.colour * len(SHAPES) + self.shape

    def mask(self, rows: Field = _ROWS, columns: Field = _COLUMNS) -> NDArray[np.bool_]:
        """Which pixels it covers."""
        across, down = columns - self.x, rows - self.y
        if self.shape == 0:
            return np.asarray(across**2 + down**2 <= self.radius**2)
        if self.shape == 1:
            return np.asarray(np.maximum(np.abs(across), np.abs(down)) <= 0.88 * self.radius)
        height = (down + self.radius) / (2 * self.radius)  # 0 at the tip, 1 at the base
        return np.asarray((height >= 0) & (height <= 1) & (np.abs(across) <= height * self.radius))


@dataclass(frozen=True)
class Scene:
    """A picture [H, W, 3] and what is in it: class map (0 is ground), distance of each pixel, things, far to near."""

    image: Picture
    classes: NDArray[np.int64]
    depth: NDArray[np.float32]
    things: Sequence[Thing] = field(default=())


def thing(rng: Generator, *, smallest: float = 8.0, largest: float = 17.0, distance: float | None = None) -> Thing:
    """One thing that lies wholly in the picture. With a distance its size follows from it."""
    radius = rng.uniform(smallest, largest) if distance is None else rng.uniform(0.9, 1.1) * 20 / distance
    x, y = rng.uniform(radius + 1, SIZE - radius - 1, size=2)
    return Thing(int(rng.integers(3)), int(rng.integers(4)), float(x), float(y), float(radius), distance or 1.0)


def draw(rng: Generator, things: Sequence[Thing]) -> Scene:
    """The things on a shaded ground, the farthest first; light, noise and colours vary a little."""
    things = sorted(things, key=lambda item: -item.distance)
    ground = rng.uniform(90, 200) + rng.uniform(-25, 25, size=3)
    slope = rng.uniform(-0.5, 0.5, size=2)
    shade = slope[0] * (_ROWS - SIZE / 2) + slope[1] * (_COLUMNS - SIZE / 2)
    image = ground + shade[..., None]
    classes = np.zeros((SIZE, SIZE), dtype=np.int64)
    depth = np.full((SIZE, SIZE), 5.0, dtype=np.float32)
    for item in things:
        mask = item.mask()
        colour = np.array(list(COLOURS.values())[item.colour]) * rng.uniform(0.85, 1.1) + rng.uniform(-8, 8, size=3)
        image[mask] = colour
        classes[mask] = item.shape + 1
        depth[mask] = item.distance
    image = image + rng.normal(0, 4, size=image.shape)
    return Scene(np.clip(np.rint(image), 0, 255).astype(np.uint8), classes, depth, tuple(things))


def apart(rng: Generator, most: int, **options: float) -> list[Thing]:
    """One to ``most`` things whose boxes do not overlap."""
    found: list[Thing] = []
    for _ in range(int(rng.integers(1, most + 1))):
        for _ in range(20):
            new = thing(rng, **options)
            if all(max(abs(new.x - old.x), abs(new.y - old.y)) > new.radius + old.radius + 1 for old in found):
                found.append(new)
                break
    return found


def box(item: Thing) -> tuple[float, float, float, float]:
    """The corners (left, top, right, bottom) of a thing, in pixels."""
    half = 0.88 * item.radius if item.shape == 1 else item.radius
    return item.x - half, item.y - half, item.x + half, item.y + half


DIRECTIONS = ("left", "right", "up", "down")
FRAMES, FRAME_SIZE = 8, 32


def clip(rng: Generator) -> tuple[Picture, int]:
    """Eight frames [T, 32, 32, 3] of a square that moves, and the number of its direction in ``DIRECTIONS``."""
    direction = int(rng.integers(4))
    across, down = ((-1, 0), (1, 0), (0, -1), (0, 1))[direction]
    speed, radius = rng.uniform(1.2, 2.2), rng.uniform(3, 5)
    x, y = rng.uniform(radius + 8, FRAME_SIZE - radius - 8, size=2)
    x, y = x - across * speed * 3.5, y - down * speed * 3.5
    ground, colour = rng.uniform(30, 120, size=3), rng.uniform(140, 255, size=3)
    rows, columns = np.mgrid[0:FRAME_SIZE, 0:FRAME_SIZE] + 0.5
    frames = []
    for step in range(FRAMES):
        away = np.maximum(np.abs(columns - x - across * speed * step), np.abs(rows - y - down * speed * step))
        frame = np.where((away <= radius)[..., None], colour, ground) + rng.normal(0, 4, (FRAME_SIZE, FRAME_SIZE, 3))
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return np.stack(frames), direction
