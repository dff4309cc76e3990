"""Recordings without their silences: only what is spoken goes through the model, and times stay those of the whole."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ....postprocess.audio.silence import sound_spans
from ...media.sounds import Sound
from ...running.options import require
from ...running.task import Prepared

LEAST_SILENCE = 1.0  # seconds: what is said around a shorter pause stays together
AROUND = 0.05  # seconds before and after what is loud that go with it: in more, small models hear letters


@dataclass(frozen=True)
class Part:
    """A part of a recording that is spoken, and where in it the part begins, in seconds."""

    start: float
    sound: Sound


@dataclass(frozen=True)
class InParts:
    """A recording, its spoken parts, and what each is as an item of its own."""

    sound: Sound
    parts: Sequence[Part]
    prepared: Sequence[Prepared]


def spoken_parts(sound: Sound, skip_silence: Any) -> list[Part]:
    """The parts of a recording that are not silent.

    skip_silence: True tells them by their energy (``sound_spans``); or a model of speech and silence, a function of the
    samples [n] and their rate that gives (start, end) of every spoken part in seconds, in order.
    """
    require(sound.stride is None, "stride must be left out with skip_silence, which cuts the recording itself")
    rate = sound.rate
    if callable(skip_silence):
        given = skip_silence(sound.samples, rate)
        if not isinstance(given, Iterable):
            raise TypeError(f"skip_silence must give (start, end) of every spoken part in seconds; got {given!r}")
        spans = [_checked(span, rate, len(sound.samples)) for span in given]
        require(
            all(after[0] >= before[1] for before, after in pairwise(spans)),
            f"skip_silence must give spoken parts in order; got {[(a / rate, b / rate) for a, b in spans]}",
        )
    else:
        levels = np.asarray(sound.samples, dtype=np.float32)
        if sound.samples.dtype.kind in "iu":  # taken as they are, and full scale is that of their type
            levels = levels / float(np.iinfo(sound.samples.dtype).max)
        if not np.isfinite(levels).all():  # what is loud beside them nobody can say
            raise ValueError("audio must hold finite numbers for skip_silence=True; got NaN or infinity")
        [spans] = sound_spans(torch.from_numpy(levels)[None], rate, min_silence=LEAST_SILENCE, pad=AROUND)
    return [Part(first / rate, Sound(sound.samples[first:last], rate, name=sound.name)) for first, last in spans]


def _checked(span: Any, rate: int, count: int) -> tuple[int, int]:
    """The samples of a spoken part."""
    fits = isinstance(span, list | tuple | np.ndarray) and len(span) == 2 and all(map(_is_number, span))
    start, end = (float(span[0]), float(span[1])) if fits else (math.nan, math.nan)
    if not 0 <= start < end < math.inf:
        raise ValueError(f"skip_silence must give (start, end) of every spoken part in seconds; got {span!r}")
    return min(round(start * rate), count), min(round(end * rate), count)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) or (isinstance(value, torch.Tensor) and value.numel() == 1)


def join_parts(records: Sequence[Mapping[str, Any]], parts: Sequence[Part], *, timed: bool) -> dict[str, Any]:
    """One record of those of the parts: their texts with a space between, their times moved to where the part is.

    timed: whether there are chunks. A chunk without an end has its part's. ``confidence`` is weighted by the letters.
    """
    texts = [str(record["text"]).strip() for record in records]
    joined: dict[str, Any] = {"text": " ".join(filter(None, texts))}
    if timed:
        joined["chunks"] = [
            {**chunk, "timestamp": _moved(chunk["timestamp"], part)}
            for record, part in zip(records, parts, strict=True)
            for chunk in record["chunks"]
        ]
    letters = sum(map(len, texts))
    if letters and all("confidence" in record for record in records):
        pairs = zip(records, texts, strict=True)
        joined["confidence"] = sum(record["confidence"] * len(text) for record, text in pairs) / letters
    return joined


def _moved(times: tuple[float | None, float | None], part: Part) -> tuple[float, float]:
    start, end = times
    return part.start + (start or 0.0), part.start + (part.sound.seconds if end is None else end)
