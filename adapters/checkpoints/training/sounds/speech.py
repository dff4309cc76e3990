"""Spoken words: espeak-ng says each alone, in many voices; utterances are words put one after another.

So that the place of every word is known. espeak-ng is needed for training alone: Debian's package of that name.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from .....postprocess.audio.resample import resample

RATE = 16_000
WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("yes", "no", "up", "down", "left", "right", "stop", "go", "on", "off"),
    *("red", "green", "blue", "yellow", "circle", "square", "triangle"),
)
VOICES = (
    *("en-us", "en-us+m1", "en-us+m3", "en-us+m7", "en-us+f1", "en-us+f3", "en-us+f4"),
    *("en-gb", "en-gb+m2", "en-gb+m4", "en-gb+m6", "en-gb+f2", "en-gb+f5", "en-gb-scotland+m3"),
)
NEW_VOICES = ("en-us+m5", "en-us+f2", "en-gb+m8", "en-gb+f4")
"""What no training hears: timbres that espeak-ng has beside those above."""

Samples = NDArray[np.float32]
Bank = Mapping[str, Mapping[str, Sequence[Samples]]]
"""Voice, word, clips of it."""


@dataclass(frozen=True)
class Utterance:
    """Samples and their words with their first sample and the one after their last."""

    samples: Samples
    words: Sequence[tuple[str, int, int]]

    @property
    def text(self) -> str:
        return " ".join(word for word, _, _ in self.words)


def version() -> str:
    """What espeak-ng calls itself. Raises RuntimeError where it is not installed."""
    try:
        said = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise RuntimeError("espeak-ng must be installed to train the checkpoints for sound") from error
    return said.split("  ")[0].replace("eSpeak NG text-to-speech:", "espeak-ng").strip()


def speak(text: str, voice: str, speed: int, pitch: int) -> Samples:
    """``text`` at 16 kHz without the silence around it. speed: words a minute; pitch: 0 to 99."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    # A stream's header states no length: 44 bytes, the rate at 24.
    rate = int.from_bytes(content[24:28], "little")
    samples = np.frombuffer(content[44 : 44 + (len(content) - 44) // 2 * 2], dtype="<i2").astype(np.float32) / 32768
    found: Samples = resample(torch.from_numpy(samples), rate, RATE).numpy()
    return trimmed(found)


def trimmed(samples: Samples, floor: float = 0.02, width: int = 160) -> Samples:
    """``samples`` from the first to the last stretch of ``width`` that is louder than ``floor`` of the loudest."""
    count = len(samples) // width
    loud = np.abs(samples[: count * width]).reshape(count, width).max(axis=1)
    heard = np.flatnonzero(loud > floor * loud.max())
    kept: Samples = samples[heard[0] * width : (heard[-1] + 1) * width]
    return kept


def bank(voices: Sequence[str], takes: int, seed: int) -> Bank:
    """``takes`` clips of every word in every voice, each at a speed and pitch of its own."""
    rng = np.random.default_rng(seed)
    drawn = {
        voice: {
            word: [(int(rng.integers(115, 190)), int(rng.integers(20, 80))) for _ in range(takes)] for word in WORDS
        }
        for voice in voices
    }
    return {
        voice: {word: [speak(word, voice, *manner) for manner in manners] for word, manners in words.items()}
        for voice, words in drawn.items()
    }


def stretched(samples: Samples, factor: float) -> Samples:
    """Played ``factor`` times as fast: shorter and higher, as by a smaller speaker."""
    places = np.arange(0, len(samples) - 1, factor)
    found: Samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return found


def utterance(rng: Generator, clips: Bank, count: int) -> Utterance:
    """``count`` words of one voice with pauses around them, some louder, higher and noisier than others."""
    voice = clips[tuple(clips)[int(rng.integers(len(clips)))]]
    factor, parts, words, place = float(rng.uniform(0.88, 1.14)), [], [], 0
    for number in range(count + 1):
        pause = int(RATE * (rng.uniform(0.06, 0.35) if 0 < number < count else rng.uniform(0.04, 0.3)))
        parts.append(np.zeros(pause, dtype=np.float32))
        place += pause
        if number == count:
            continue
        word = WORDS[int(rng.integers(len(WORDS)))]
        takes = voice[word]
        clip = stretched(takes[int(rng.integers(len(takes)))], factor)
        clip = clip / np.abs(clip).max() * rng.uniform(0.6, 1.0)
        parts.append(clip.astype(np.float32))
        words.append((word, place, place + len(clip)))
        place += len(clip)
    return Utterance(noisy(rng, np.concatenate(parts)) * np.float32(rng.uniform(0.1, 0.9)), words)


def noisy(rng: Generator, samples: Samples, least: float = 15, most: float = 45) -> Samples:
    """With noise ``least`` to ``most`` decibels below the samples, white to dull."""
    power = float(np.square(samples).mean()) / 10 ** (rng.uniform(least, most) / 10)
    white = rng.standard_normal(len(samples) + 8).astype(np.float32)
    dull = rng.uniform(0, 1)
    noise = (1 - dull) * white[:-8] + dull * np.convolve(white, np.full(9, 1 / 3, dtype=np.float32), "valid")
    noise *= (power / max(float(np.square(noise).mean()), 1e-12)) ** 0.5
    return (samples + noise).astype(np.float32)


def utterances(rng: Generator, clips: Bank, most: int = 6) -> Iterator[Utterance]:
    """Utterances of one to ``most`` words without end."""
    while True:
        yield utterance(rng, clips, int(rng.integers(1, most + 1)))
