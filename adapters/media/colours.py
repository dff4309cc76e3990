"""Colours that look evenly apart: hues for labels, and a map from dark to light for numbers, both made in CIELAB."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

_GOLDEN = 137.508  # degrees: each next hue falls in the widest gap that the ones before it left
_LIGHTNESS = ((68, 55, 78), (42, 88, 34))
# From D65 XYZ to linear sRGB (IEC 61966-2-1), and the white point.
_TO_LINEAR = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_WHITE = np.array([0.95047, 1.0, 1.08883])

Colour = tuple[int, int, int]


def label_colours(labels: Iterable[Any]) -> dict[Any, Colour]:
    """A colour for every label, by the order in which they first come."""
    found = list(dict.fromkeys(labels))
    hues = [(25 + number * _GOLDEN) % 360 for number in range(len(found))]
    # Neighbours differ in lightness as well, for those who do not tell hues; after 21 labels hues come again.
    lightness = [_LIGHTNESS[number // 21 % 2][number % 3] for number in range(len(found))]
    colours = _from_lch(np.array(lightness, float), np.full(len(found), 62.0), np.array(hues))
    return {label: (int(r), int(g), int(b)) for label, (r, g, b) in zip(found, colours, strict=True)}


@cache
def number_colours() -> Any:
    """[256, 3] uint8 from near black by blue, violet and orange to light yellow: lightness grows by equal steps."""
    place = np.linspace(0, 1, 256)
    return _from_lch(6 + 88 * place, 14 + 62 * np.sin(np.pi * place**0.8), 275 + 185 * place)


def text_colour(colour: Colour) -> Colour:
    """Black or white, whichever is read better on ``colour``."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _from_lch(lightness: Any, chroma: Any, hue: Any) -> Any:
    """[N, 3] uint8 sRGB of N colours; the chroma of one outside sRGB is lowered until it is inside."""
    low, high = np.zeros_like(chroma), chroma.copy()
    for _ in range(12):
        linear = _linear(lightness, high, hue)
        outside = ((linear < -1e-4) | (linear > 1 + 1e-4)).any(axis=1)
        middle = (low + high) / 2
        inside = ((_linear(lightness, middle, hue) > -1e-4) & (_linear(lightness, middle, hue) < 1 + 1e-4)).all(axis=1)
        low = np.where(outside & inside, middle, low)
        high = np.where(outside & ~inside, middle, high)
        if not outside.any():
            break
    chosen = np.where(outside, low, high)
    linear = _linear(lightness, chosen, hue).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _linear(lightness: Any, chroma: Any, hue: Any) -> Any:
    angle = np.deg2rad(hue)
    y = (lightness + 16) / 116
    f = np.stack([y + chroma * np.cos(angle) / 500, y, y - chroma * np.sin(angle) / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * _WHITE
    return xyz @ _TO_LINEAR.T
