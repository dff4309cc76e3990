"""What the kernels ask of each row, as tensors [B] made once for a batch."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..kernels.decision import border_of
from ..kernels.rejection import LEAST, LEAST_TOP_P, PART
from ..options.batch_options import CompiledParams

_FILTERS = ("temperature", "top_k", "top_p", "min_p")


@dataclass(frozen=True)
class RowOptions:
    """Temperature, top-k, top-p, min-p and what follows from them, one of each a row.

    temperature: [B] float64, above 0. top_k: [B] int32, 0 for off. border: [B] float64, 1 - top_p as transformers
    compares with it, negative for off. min_p: [B] float64, 0 for off. greedy: [B] int8, rows that take their largest
    logit. proposing: [B] int8, rows that are drawn by proposals if they are flat. rows: [B] int64, where these rows
    stand in the batch that torch's stream is drawn for.
    """

    temperature: Tensor
    top_k: Tensor
    border: Tensor
    min_p: Tensor
    greedy: Tensor
    proposing: Tensor
    rows: Tensor

    @classmethod
    def of(cls, params: CompiledParams, batch_size: int, vocab_size: int, device: torch.device) -> "RowOptions | None":
        """Those of ``params``; None if other filters are on, or these in another way than the kernels know."""
        in_order = params.active == tuple(name for name in _FILTERS if name in params.active)
        if not in_order or params.joint or params.min_tokens_to_keep > 1 or "dynamic_temperature" in params.on:
            return None

        def column(value: object, dtype: torch.dtype) -> Tensor:
            wide = torch.as_tensor(value, dtype=torch.float64, device=device)
            return wide.reshape(-1).expand(batch_size).to(dtype).contiguous()

        on = params.on
        top_k, top_p = column(on.get("top_k", 0), torch.int32), column(on.get("top_p", 1.0), torch.float64)
        greedy, proposing = column(params.greedy, torch.int8), column(params.proposing, torch.int8)
        if vocab_size < PART * LEAST:
            proposing.zero_()
        return cls(
            # A greedy row's temperature is 0: the kernels divide all the same, by 1.
            temperature=column(on.get("temperature", 1.0), torch.float64).masked_fill(greedy != 0, 1.0),
            # As many as there are tokens is off, so that no list has to hold a whole row.
            top_k=top_k.masked_fill(top_k >= vocab_size, 0),
            border=torch.as_tensor(border_of(top_p)),
            min_p=column(on.get("min_p", 0.0), torch.float64),
            greedy=greedy,
            proposing=proposing * (top_p >= LEAST_TOP_P),
            rows=torch.arange(batch_size, device=device),
        )

    @classmethod
    def off(cls, batch_size: int, device: torch.device) -> "RowOptions":
        """Nothing on, for ``batch_size`` rows."""
        real = torch.zeros(batch_size, dtype=torch.float64, device=device)
        small = torch.zeros(batch_size, dtype=torch.int8, device=device)
        top_k = torch.zeros(batch_size, dtype=torch.int32, device=device)
        return cls(real + 1, top_k, real - 1, real, small, small, torch.arange(batch_size, device=device))

    def select_rows(self, rows: Tensor) -> "RowOptions":
        """The same of the rows ``rows`` [N] of the batch."""
        return RowOptions(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})
