"""transformers' feature extractors with their loop over the frames of a spectrogram replaced."""

from copy import copy
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....postprocess.audio.spectrogram import spectrum

NAME = "spectrogram"
# What ``spectrum`` takes; the rest is what transformers does with its result.
_OF_FRAMES = (
    "frame_length",
    "hop_length",
    "fft_length",
    "center",
    "pad_mode",
    "onesided",
    "dither",
    "preemphasis",
    "remove_dc_offset",
)


def spectrogram(
    waveform: NDArray[Any],
    window: NDArray[Any],
    frame_length: int,
    hop_length: int,
    fft_length: int | None = None,
    power: float | None = 1.0,
    **options: Any,
) -> NDArray[Any]:
    """transformers' function of this name with the frames of a block at once: the same numbers, bit for bit."""
    from transformers import audio_utils

    own = {name: options.pop(name) for name in _OF_FRAMES if name in options}
    found = spectrum(waveform, window, frame_length=frame_length, hop_length=hop_length, fft_length=fft_length, **own)
    return _after(audio_utils, found, power, **options)


def _after(
    audio_utils: Any,
    found: NDArray[Any],
    power: float | None,
    *,
    mel_filters: NDArray[Any] | None = None,
    mel_floor: float = 1e-10,
    log_mel: str | None = None,
    reference: float = 1.0,
    min_value: float = 1e-10,
    db_range: float | None = None,
    dtype: Any = np.float32,
) -> NDArray[Any]:
    """Magnitudes to a power, mel filters and a logarithm, each by numpy's operations as transformers applies them."""
    if power is None:
        complex_values: NDArray[Any] = found.T
        return complex_values
    values = (np.abs(found, dtype=np.float64) ** power).T
    if mel_filters is not None:
        values = np.maximum(mel_floor, np.dot(mel_filters.T, values))
    if log_mel is None:
        plain: NDArray[Any] = values
        return plain
    if log_mel in ("log", "log10"):
        values = np.log(values) if log_mel == "log" else np.log10(values)
    elif log_mel == "dB" and power in (1.0, 2.0):
        to_db = audio_utils.amplitude_to_db if power == 1.0 else audio_utils.power_to_db
        values = to_db(values, reference, min_value, db_range)
    else:
        raise ValueError(f"log_mel must be None, 'log', 'log10' or (of power 1 or 2) 'dB'; got {log_mel!r}")
    cast: NDArray[Any] = np.asarray(values, dtype)
    return cast


def quick(extractor: Any) -> Any:
    """``extractor``, or a shallow copy of it whose methods call this file's ``spectrogram``.

    The extractor itself and transformers stay as they are.
    """
    from transformers import audio_utils

    methods = {
        name: method
        for kind in reversed(type(extractor).__mro__)
        for name, method in vars(kind).items()
        if isinstance(method, FunctionType) and NAME in _names(method.__code__)
    }
    theirs = [m for m in methods.values() if m.__globals__.get(NAME) is audio_utils.spectrogram]
    if not theirs or len(theirs) != len(methods):
        return extractor
    changed = copy(extractor)
    for name, method in methods.items():
        scope = {**method.__globals__, NAME: spectrogram}
        own = FunctionType(method.__code__, scope, name, method.__defaults__, method.__closure__)
        own.__kwdefaults__ = method.__kwdefaults__
        setattr(changed, name, MethodType(own, changed))
    return changed


def _names(code: CodeType) -> set[str]:
    """The global names that a function and those within it read."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names, *(name for each in inner for name in _names(each))}
