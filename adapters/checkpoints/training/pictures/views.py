"""Draws two views of one scene, and says which corner of the one is which of the other.

A scene is flat: things of ``scenes.py``, turned, on a plane that two cameras see through a homography each. Light,
slope of the shade and noise are another in each view.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .scenes import COLOURS, Field, Picture, Thing

SIZE = 96
GREY = (0.2989, 0.5870, 0.1140)
"""The weights of red, green and blue in the grey of the image processors of keypoint models."""
_MARGIN = 24
"""How far the plane reaches beyond the first view, so that the second sees things that the first does not."""
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE] + 0.5


@dataclass(frozen=True)
class Turned:
    """A thing, its angle in radians and its colour."""

    thing: Thing
    angle: float
    colour: Field

    def mask(self, x: Field, y: Field) -> NDArray[np.bool_]:
        """Which points of the plane it covers."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        across, down = x - self.thing.x, y - self.thing.y
        return self.thing.mask(
            self.thing.y + cosine * down - sine * across, self.thing.x + cosine * across + sine * down
        )

    def window(self, homography: Field) -> tuple[slice, slice]:
        """Rows and columns of a view outside of which it is not seen: around the corners of a square that holds it."""
        reach = 1.5 * self.thing.radius
        around = np.array([(-reach, -reach), (reach, -reach), (reach, reach), (-reach, reach)])
        seen = mapped(homography, around + np.array((self.thing.x, self.thing.y)))
        (left, top), (right, bottom) = (seen.min(0).clip(0, SIZE), seen.max(0).clip(0, SIZE))
        return slice(int(top), int(np.ceil(bottom))), slice(int(left), int(np.ceil(right)))

    def corners(self) -> Field:
        """[N, 2] x, y on the plane; a circle has none."""
        radius = self.thing.radius
        side = 0.88 * radius
        flat = {
            0: np.empty((0, 2)),
            1: np.array([(-side, -side), (side, -side), (side, side), (-side, side)]),
            2: np.array([(0, -radius), (radius, radius), (-radius, radius)]),
        }[self.thing.shape]
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        return np.asarray(flat @ turn.T + (self.thing.x, self.thing.y), np.float64)


@dataclass(frozen=True)
class View:
    """A picture [H, W, 3], the homography [3, 3] from the plane to its pixels, and where each corner of the scene lies
    in it [N, 2], inside or not."""

    image: Picture
    homography: Field
    corners: Field

    @property
    def inside(self) -> NDArray[np.bool_]:
        """[N]: the corners that lie in the picture, a pixel from its edge at least."""
        return np.asarray(((self.corners > 1) & (self.corners < SIZE - 1)).all(1))


def mapped(homography: Field, points: Field) -> Field:
    """Points [..., 2] through a homography [3, 3]."""
    lifted = points @ homography[:, :2].T + homography[:, 2]
    return np.asarray(lifted[..., :2] / lifted[..., 2:])


def pair(rng: Generator) -> tuple[View, View]:
    """Two views of a new scene; corner k of the first is corner k of the second."""
    ground, scene = _scene(rng)
    return _view(rng, ground, scene, 0.3), _view(rng, ground, scene, 1.0)


def _scene(rng: Generator) -> tuple[Field, list[Turned]]:
    """The colour of the ground, and up to 18 things that stand apart, on a plane larger than a view."""
    ground = rng.uniform(70, 215) + rng.uniform(-15, 15, size=3)
    wanted, found = int(rng.integers(11, 19)), list[Thing]()
    places, radii = rng.uniform(-_MARGIN, SIZE + _MARGIN, size=(150, 2)), rng.uniform(7, 14, size=150)
    for (x, y), radius in zip(places.tolist(), radii.tolist(), strict=True):
        clear = all(math.hypot(x - old.x, y - old.y) > 1.2 * (radius + old.radius) for old in found)
        if clear and len(found) < wanted:
            found.append(Thing(int(rng.choice(3, p=(0.16, 0.42, 0.42))), int(rng.integers(4)), x, y, radius))
    return ground, [Turned(item, float(rng.uniform(0, 2 * np.pi)), _colour(rng, item, ground)) for item in found]


def _colour(rng: Generator, item: Thing, ground: Field) -> Field:
    """One that stands out from the ground in grey, which is all that the model sees."""
    base = np.array(list(COLOURS.values())[item.colour])
    while True:
        colour = base * rng.uniform(0.4, 1.25) + rng.uniform(-20, 20, size=3)
        if abs((colour - ground) @ GREY) > 30:
            return np.asarray(colour)


def _homography(rng: Generator, strength: float) -> Field:
    """Turned by 30 degrees, scaled by a quarter, moved by a tenth and tilted at most, times ``strength``."""
    angle, zoom = rng.uniform(-0.52, 0.52) * strength, np.exp(rng.uniform(-0.22, 0.22) * strength)
    tilt = rng.uniform(-0.0022, 0.0022, size=2) * strength
    move = rng.uniform(-0.1, 0.1, size=2) * SIZE * strength
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [*tilt, 1]])
    half = SIZE / 2
    placed = np.array([[1, 0, half + move[0]], [0, 1, half + move[1]], [0, 0, 1]]) @ turn
    return np.asarray(placed @ np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]]), np.float64)


def _view(rng: Generator, ground: Field, scene: list[Turned], strength: float) -> View:
    homography = _homography(rng, strength)
    plane = mapped(np.asarray(np.linalg.inv(homography), np.float64), np.stack((_COLUMNS, _ROWS), axis=-1))
    x, y = plane[..., 0], plane[..., 1]
    image = np.broadcast_to(ground, (SIZE, SIZE, 3)).copy()
    for item in scene:
        window = item.window(homography)
        image[window][item.mask(x[window], y[window])] = item.colour
    slope = rng.uniform(-0.2, 0.2, size=2)
    shade = slope[0] * (_ROWS - SIZE / 2) + slope[1] * (_COLUMNS - SIZE / 2)
    image = image * rng.uniform(0.85, 1.15) + shade[..., None] + rng.normal(0, 4, size=image.shape)
    corners = mapped(homography, np.concatenate([item.corners() for item in scene]))
    return View(np.clip(np.rint(image), 0, 255).astype(np.uint8), homography, corners)
