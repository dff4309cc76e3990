"""Another sampling rate by a windowed sinc: torchaudio's default formula, which transformers' pipelines call."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor


def resample(
    waveform: Tensor, from_rate: int, to_rate: int, *, lowpass_filter_width: int = 6, rolloff: float = 0.99
) -> Tensor:
    """``waveform`` at another sampling rate.

    waveform: [..., T] float. Returns [..., ceil(T * to_rate / from_rate)] in the same dtype. The kernel is a sinc with
    a Hann window of ``lowpass_filter_width`` zero crossings and a cut-off at ``rolloff`` times the lower Nyquist
    frequency, evaluated in the waveform's own type, so that float32 has torchaudio's bits. Equal rates return the
    waveform itself. Cost: about 2 * lowpass_filter_width * from_rate / min(from_rate, to_rate) products a sample.
    torchaudio counts the samples of the result in float32, which beyond 2**24 of them is off by one or two.
    Source: J. O. Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample/.
    >>> resample(torch.ones(1, 100), 2, 1).shape
    torch.Size([1, 50])
    """
    for name, rate in (("from_rate", from_rate), ("to_rate", to_rate)):
        if rate != int(rate) or rate <= 0:
            raise ValueError(f"{name} must be a positive whole number; got {rate}")
    if not waveform.is_floating_point():
        raise TypeError(f"waveform must be floating point; got {waveform.dtype}")
    if lowpass_filter_width < 1:
        raise ValueError(f"lowpass_filter_width must be at least 1; got {lowpass_filter_width}")
    if from_rate == to_rate or waveform.shape[-1] == 0:
        return waveform
    divisor = math.gcd(int(from_rate), int(to_rate))
    old, new = int(from_rate) // divisor, int(to_rate) // divisor
    kernel, width = _kernel(old, new, lowpass_filter_width, rolloff, waveform.dtype, waveform.device)
    rows = waveform.reshape(-1, waveform.shape[-1])
    count = math.ceil(new * waveform.shape[-1] / old)
    padded = torch.nn.functional.pad(rows, (width, width + old))
    # Row by row of the kernel's phases: one output of every phase for each step of `old` input samples.
    found = torch.nn.functional.conv1d(padded[:, None], kernel, stride=old)
    out = found.transpose(1, 2).reshape(len(rows), -1)[:, :count]
    return out.reshape(*waveform.shape[:-1], count)


@functools.lru_cache(maxsize=16)
def _kernel(
    old: int, new: int, lowpass_filter_width: int, rolloff: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, int]:
    """[new, 1, width + old + width] and the width: one filter for each phase of the output."""
    cutoff = min(old, new) * rolloff
    width = math.ceil(lowpass_filter_width * old / cutoff)
    place = torch.arange(-width, width + old, dtype=dtype, device=device)[None, None] / old
    phase = torch.arange(0, -new, -1, dtype=dtype, device=device)[:, None, None] / new
    t = ((phase + place) * cutoff).clamp_(-lowpass_filter_width, lowpass_filter_width)
    window = torch.cos(t * math.pi / lowpass_filter_width / 2) ** 2
    t *= math.pi
    sinc = torch.where(t == 0, torch.ones_like(t), t.sin() / t)
    return sinc * (window * (cutoff / old)), width
