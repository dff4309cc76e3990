"""The draw by kernels: one read of the logits, a program for each row's list, and one for the rows that need more.

Where they may run is said here, in ``may_run``; the ladder of ``sampling`` asks it once for a plan. Nothing is read on
the host with seeds; in torch's stream one flag is, because there transformers' token is promised and a row that
rounding might decide goes through transformers' operations.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .decide_and_draw import BAD, DOUBT, decide_and_draw
from .exact_row import exact_row
from .language import HAS_TRITON, INTERPRETED
from .row_options import RowOptions
from .row_stats import empty_stats, row_stats
from .stream_state import StreamDraw

__all__ = ["DTYPES", "Drawn", "draw_rows", "may_run"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Drawn:
    """Tokens [B] int64; a word [B] int32 for each: BAD for a row with NaN, +inf or nothing above -inf (token 0), DOUBT
    where rounding might have decided; largest: the largest logit of each row, [B] float32, NaN where it holds one."""

    tokens: Tensor
    flags: Tensor
    largest: Tensor

    @property
    def bad(self) -> Tensor:
        """Rows that cannot be drawn, [B] bool."""
        return (self.flags & BAD) != 0

    @property
    def doubtful(self) -> Tensor:
        """Rows whose token rounding might have decided, [B] bool."""
        return (self.flags & DOUBT) != 0


def may_run(device: torch.device) -> bool:
    """Whether kernels draw on this device: CUDA with triton installed, and a first draw that came back.

    ``AFTERLOGITS_KERNELS=off`` in the environment switches them off; ``=interpreter`` runs them on the CPU in Triton's
    interpreter, which is for tests.
    """
    asked = os.environ.get("AFTERLOGITS_KERNELS", "")
    if not HAS_TRITON or asked == "off":
        return False
    if INTERPRETED:
        return asked == "interpreter"
    return device.type == "cuda" and not torch.cuda.is_current_stream_capturing() and _works(device)


@cache
def _works(device: torch.device) -> bool:
    """Whether a draw comes back from this device, asked once: triton needs a C compiler, and a GPU that it knows."""
    logits, keys = torch.zeros(1, 8, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    try:
        drawn = draw_rows(logits, RowOptions.off(1, device), keys=keys)
        return drawn is not None and 0 <= int(drawn.tokens) < 8
    except Exception as error:  # whatever it is, torch draws the same tokens
        warnings.warn(f"triton does not run on {device}, torch draws instead: {error!r}", stacklevel=2)
        return False


def draw_rows(
    logits: Tensor, options: RowOptions, *, keys: Tensor | None = None, stream: StreamDraw | None = None
) -> Drawn | None:
    """One token for each row of logits [B, V] by the options of those rows; None where the type is not the kernels'.

    keys: [B] int64 from ``counter_keys``; without them ``stream`` says which of torch's draws is reproduced.
    """
    rows = logits.shape[0]
    if logits.dtype not in DTYPES or rows == 0:
        return None
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    stats = row_stats(logits, options.temperature, empty_stats(logits))
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    flags = torch.empty(rows, dtype=torch.int32, device=logits.device)
    largest = torch.empty(rows, device=logits.device)
    decide_and_draw(logits, stats, options, keys, stream, tokens, flags, largest)
    exact_row(logits, stats, options, keys, stream, tokens, flags)
    return Drawn(tokens, flags, largest)
