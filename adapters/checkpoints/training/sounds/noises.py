"""Sounds of a second that are told apart by ear: tones, sweeps, bells, clicks, noise, and speech from its clips."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from .speech import RATE, Bank, Samples, noisy, stretched

LABELS = ("beep", "bell", "chirp", "chord", "clicks", "noise", "siren", "speech")
SECONDS = 1.0
_TIMES = np.arange(int(RATE * SECONDS)) / RATE


def _beep(rng: Generator) -> Samples:
    """One tone, on and off."""
    period, share = rng.uniform(0.15, 0.5), rng.uniform(0.3, 0.7)
    on = (_TIMES / period + rng.uniform()) % 1 < share
    return _as_sound(_smooth(on) * np.sin(2 * np.pi * rng.uniform(350, 2500) * _TIMES))


def _bell(rng: Generator) -> Samples:
    """Partials that do not fit each other and die away, struck once or twice."""
    base, found = rng.uniform(300, 1200), np.zeros(len(_TIMES))
    for start in np.sort(rng.uniform(0, 0.6, size=int(rng.integers(1, 3)))):
        since = np.clip(_TIMES - start, 0, None)
        for ratio, weight in ((1.0, 1.0), (2.76, 0.6), (5.4, 0.35), (8.93, 0.2)):
            decay = np.exp(-since * rng.uniform(2.5, 5) * ratio**0.5) * (start <= _TIMES)
            found += weight * decay * np.sin(2 * np.pi * base * ratio * rng.uniform(0.98, 1.02) * since)
    return _as_sound(found)


def _chirp(rng: Generator) -> Samples:
    """Short sweeps that begin again and again."""
    period, low, high = rng.uniform(0.1, 0.25), rng.uniform(1200, 2500), rng.uniform(3000, 6000)
    place = (_TIMES / period + rng.uniform()) % 1
    up = place if rng.uniform() < 0.5 else 1 - place
    return _as_sound(_smooth(place < rng.uniform(0.5, 0.8)) * _swept(low + (high - low) * up))


def _chord(rng: Generator) -> Samples:
    """Three held tones with overtones."""
    base = rng.uniform(130, 500)
    ratios = ((1, 1.25, 1.5), (1, 1.2, 1.5), (1, 1.333, 1.667))[int(rng.integers(3))]
    found = np.zeros(len(_TIMES))
    for ratio in ratios:
        for overtone in range(1, 5):
            found += np.sin(2 * np.pi * (base * ratio * overtone * _TIMES + rng.uniform())) / overtone**1.5
    return _as_sound(found)


def _clicks(rng: Generator) -> Samples:
    """Short cracks at random."""
    found = np.zeros(len(_TIMES))
    for start in rng.uniform(0, 0.97, size=int(rng.integers(3, 14))):
        first = int(start * RATE)
        length = int(rng.integers(40, 300))
        crack = rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5)) * rng.uniform(0.4, 1)
        found[first : first + length] += crack[: len(found) - first]
    return _as_sound(found)


def _noise(rng: Generator) -> Samples:
    """Hiss, brighter or duller, louder and softer."""
    width = int(rng.integers(1, 12))
    white = rng.standard_normal(len(_TIMES) + width - 1)
    swell = 1 + rng.uniform(0, 0.6) * np.sin(2 * np.pi * (rng.uniform(0.3, 3) * _TIMES + rng.uniform()))
    return _as_sound(np.convolve(white, np.full(width, 1 / width), "valid") * swell)


def _siren(rng: Generator) -> Samples:
    """One tone that goes slowly up and down and never stops."""
    middle, reach = rng.uniform(600, 1100), rng.uniform(0.2, 0.45)
    turn = np.sin(2 * np.pi * (rng.uniform(0.7, 2.5) * _TIMES + rng.uniform()))
    tone = _swept(middle * (1 + reach * turn))
    return _as_sound(tone + rng.uniform(0, 0.4) * _swept(2 * middle * (1 + reach * turn)))


def _swept(frequency: np.ndarray) -> np.ndarray:
    return np.asarray(np.sin(2 * np.pi * np.cumsum(frequency) / RATE))


def _smooth(on: np.ndarray, width: int = 81) -> np.ndarray:
    """On and off without a crack between them."""
    return np.asarray(np.convolve(on.astype(np.float64), np.full(width, 1 / width), "same"))


def _as_sound(values: np.ndarray) -> Samples:
    return (values / max(float(np.abs(values).max()), 1e-9)).astype(np.float32)


def _speech(rng: Generator, clips: Bank) -> Samples:
    """Words of one voice until the second is full."""
    voice = clips[tuple(clips)[int(rng.integers(len(clips)))]]
    words, found = tuple(voice), np.zeros(0, dtype=np.float32)
    factor = float(rng.uniform(0.88, 1.14))
    while len(found) < len(_TIMES):
        takes = voice[words[int(rng.integers(len(words)))]]
        clip = stretched(takes[int(rng.integers(len(takes)))], factor)
        found = np.concatenate([found, np.zeros(int(rng.uniform(0.03, 0.25) * RATE), dtype=np.float32), clip])
    first = int(rng.integers(0, max(len(found) - len(_TIMES), 1)))
    return _as_sound(found[first : first + len(_TIMES)])


_DRAWN: dict[str, Callable[[Generator], Samples]] = {
    "beep": _beep,
    "bell": _bell,
    "chirp": _chirp,
    "chord": _chord,
    "clicks": _clicks,
    "noise": _noise,
    "siren": _siren,
}


def sound(rng: Generator, clips: Bank, label: int) -> Samples:
    """A second of sound of ``LABELS[label]``, more or less loud, over a little noise."""
    name = LABELS[label]
    clean = _speech(rng, clips) if name == "speech" else _DRAWN[name](rng)
    loud: Samples = noisy(rng, clean, least=12) * np.float32(10 ** rng.uniform(-1.5, -0.1))
    return loud
