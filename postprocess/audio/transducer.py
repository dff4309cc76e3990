"""When a transducer's tokens were spoken: running sums of the frames that its steps moved on by."""

from __future__ import annotations

import torch
from torch import Tensor


def emission_frames(durations: Tensor, *, spans: bool) -> Tensor:
    """The first frame of each step's token and the one after its last.

    durations: [..., T] int, frames that each step moves on by: predicted with the token by a token-and-duration
    transducer (TDT), 1 after a blank and 0 after a token by others (RNN-T). spans: a token takes the frames it moves on
    by (TDT); otherwise one frame (RNN-T). Returns [..., T, 2] int64. Cost: one running sum.
    Source: NeMo's compute_rnnt_timestamps, as transformers' ParakeetProcessor.decode reads it.
    >>> emission_frames(torch.tensor([2, 0, 3]), spans=True).tolist()
    [[0, 2], [2, 2], [2, 5]]
    """
    if durations.is_floating_point():
        raise TypeError(f"durations must be whole numbers; got {durations.dtype}")
    starts = durations.cumsum(-1) - durations
    return torch.stack([starts, starts + (durations if spans else 1)], dim=-1)
