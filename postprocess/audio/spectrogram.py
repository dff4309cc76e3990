"""Spectrograms of sounds, all frames of a block at once: the numbers of transformers' ``spectrogram``, bit for bit.

It stands before the model, not after it, but takes half of a small model's time there: a Python loop over frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
FRAMES_AT_ONCE = 256  # of a block: some hundred kilobytes of float64, which stay in the processor's cache


def spectrum(
    waveform: Array,
    window: Array,
    *,
    frame_length: int,
    hop_length: int,
    fft_length: int | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    onesided: bool = True,
    dither: float = 0.0,
    preemphasis: float | None = None,
    remove_dc_offset: bool = False,
) -> Array:
    """The Fourier transform of every frame of a sound.

    waveform: [n] real. window: [frame_length]. A frame begins every ``hop_length`` samples; ``center`` pads the sound
    so that the first frame lies around its first sample. fft_length: frames are padded with zeros to it. dither:
    noise of numpy's stream, frame after frame. remove_dc_offset, preemphasis: each frame less its mean, then each
    sample less a share of the one before it. Returns [frames, fft_length // 2 + 1] complex64 (all fft_length where not
    ``onesided``).
    Raises ValueError for a sound that is shorter than one frame.
    >>> spectrum(np.ones(8), np.ones(4), frame_length=4, hop_length=2, center=False).real.tolist()
    [[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [4.0, 0.0, 0.0]]
    """
    size = frame_length if fft_length is None else fft_length
    _check_frames(waveform, window, frame_length, hop_length, size)
    if center:
        waveform = np.pad(waveform, frame_length // 2, mode=pad_mode)  # type: ignore[call-overload]
    if len(waveform) < frame_length:
        raise ValueError(f"waveform must be at least one frame ({frame_length} samples); got {len(waveform)}")
    frames = np.lib.stride_tricks.sliding_window_view(waveform, frame_length)[::hop_length]
    transform = np.fft.rfft if onesided else np.fft.fft
    out = np.empty((len(frames), size // 2 + 1 if onesided else size), dtype=np.complex64)
    taper = window.astype(np.float64)
    for first in range(0, len(frames), FRAMES_AT_ONCE):
        block = frames[first : first + FRAMES_AT_ONCE].astype(np.float64)
        _prepare_(block, dither, preemphasis, remove_dc_offset)
        block *= taper
        out[first : first + len(block)] = transform(block, n=size, axis=1)
    return out


def _check_frames(waveform: Array, window: Array, frame_length: int, hop_length: int, size: int) -> None:
    if waveform.ndim != 1 or np.iscomplexobj(waveform):
        raise ValueError(f"waveform must be [n] real numbers; got shape {waveform.shape} of {waveform.dtype}")
    if hop_length < 1 or frame_length > size or len(window) != frame_length:
        raise ValueError(
            f"hop_length must be at least 1, frame_length at most fft_length and the window's length; "
            f"got {hop_length}, {frame_length}, {size}, {len(window)}"
        )


def _prepare_(block: Array, dither: float, preemphasis: float | None, remove_dc_offset: bool) -> None:
    """What is done to frames [n, frame_length] before the window, in place and in transformers' order."""
    if dither:
        block += dither * np.random.randn(*block.shape)
    if remove_dc_offset:
        with np.errstate(invalid="ignore"):  # infinite samples: what comes of them is NaN, as in transformers
            block -= block.mean(axis=1, keepdims=True)
    if preemphasis is not None:
        block[:, 1:] -= preemphasis * block[:, :-1]
        block[:, 0] *= 1 - preemphasis
