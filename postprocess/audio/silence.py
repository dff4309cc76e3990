"""Where there is sound: a plain threshold on the energy of short frames, for a batch of recordings."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sound_spans(
    waveform: Tensor,
    sampling_rate: int,
    *,
    lengths: Tensor | None = None,
    threshold_db: float = -35.0,
    floor_db: float = -60.0,
    frame_seconds: float = 0.02,
    min_silence: float = 0.3,
    min_sound: float = 0.05,
    pad: float = 0.1,
) -> list[list[tuple[int, int]]]:
    """The parts of every recording that are not silent, as samples ``[start, end)``.

    waveform: [B, T] float, full scale 1. lengths: [B], samples of each. A frame of ``frame_seconds`` is sound where its
    level is above ``threshold_db`` relative to the recording's loudest frame and above ``floor_db`` of full scale.
    Silences shorter than ``min_silence`` seconds are part of the sound around them, sounds shorter than ``min_sound``
    are dropped, and ``pad`` seconds on both sides are kept. NaN is silence. One read of device values.
    >>> sound = torch.cat((torch.zeros(800), torch.ones(800), torch.zeros(800)))
    >>> sound_spans(sound[None], 1000, pad=0.0)
    [[(800, 1600)]]
    """
    if waveform.dim() != 2:
        raise ValueError(f"waveform must be [B, T]; got shape {list(waveform.shape)}")
    if sampling_rate <= 0:
        raise ValueError(f"sampling_rate must be positive; got {sampling_rate}")
    samples = waveform.shape[1]
    counts = [samples] * len(waveform) if lengths is None else [int(n) for n in lengths.tolist()]
    size = max(1, round(frame_seconds * sampling_rate))
    frames = math.ceil(samples / size)
    padded = torch.nn.functional.pad(waveform.detach().float(), (0, frames * size - samples)).nan_to_num(0.0)
    level = padded.reshape(-1, frames, size).square().mean(-1) if frames else padded
    loudest = level.amax(1, keepdim=True) if frames else level
    loud = (level > loudest * 10 ** (threshold_db / 10)) & (level > 10 ** (floor_db / 10))
    edges = torch.diff(torch.nn.functional.pad(loud.int(), (1, 1)), dim=1).cpu()
    apart, least, around = (round(seconds * sampling_rate) for seconds in (min_silence, min_sound, pad))
    found = []
    for row, count in zip(edges, counts, strict=True):
        starts, ends = ((row == sign).nonzero().flatten().tolist() for sign in (1, -1))
        spans = [(a * size, min(b * size, count)) for a, b in zip(starts, ends, strict=True)]
        found.append(_joined(spans, apart, least, around, count))
    return found


def _joined(
    spans: list[tuple[int, int]], min_silence: int, min_sound: int, pad: int, samples: int
) -> list[tuple[int, int]]:
    """Sounding spans joined over short silences, then the short ones dropped, the others widened by ``pad`` and joined
    where they meet; all in samples."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < min_silence:
            joined[-1] = joined[-1][0], end
        elif start < samples:
            joined.append((start, end))
    widened: list[tuple[int, int]] = []
    for start, end in joined:
        if end - start < min_sound:
            continue
        start, end = max(0, start - pad), min(samples, end + pad)
        if widened and start <= widened[-1][1]:
            start = widened.pop()[0]
        widened.append((start, end))
    return widened
