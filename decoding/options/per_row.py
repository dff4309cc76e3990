"""Per-row options in the form a step keeps: float64 tensors that follow the rows of the batch.

`row_option` reads a number as a tensor [] and one number per row as [B]; `row_column` casts it to the type the
arithmetic runs in. A number and a row of a tensor then take part in the same multiplication and give the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .validation import COUNT, Requirement, RowOption, per_row


def row_option(
    name: str, value: RowOption, batch_size: int, requirement: Requirement, device: torch.device | str = "cpu"
) -> Tensor:
    """`value` as a float64 tensor, [] for a number and [B] for one per row, checked where it lies on the host.

    >>> from afterlogits.decoding.options.validation import POSITIVE
    >>> row_option("penalty", [1.5, 2.0], 2, POSITIVE)
    tensor([1.5000, 2.0000], dtype=torch.float64)
    """
    device = torch.device(device)
    read = per_row(name, value, batch_size, device, requirement)
    return read[:, 0] if isinstance(read, Tensor) else torch.tensor(read, dtype=torch.float64, device=device)


def row_count(name: str, value: RowOption, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
    """`value` as an int64 tensor, [] or [B]; whole numbers from 0."""
    return row_option(name, value, batch_size, COUNT, device).long()


def arithmetic_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type torch computes in for logits of `dtype`: float32 for the half types."""
    return torch.promote_types(dtype, torch.float32)


def row_column(option: Tensor, logits: Tensor) -> Tensor:
    """A row option as a column [B, 1] in the arithmetic type of `logits`."""
    option = option.to(device=logits.device, dtype=arithmetic_dtype(logits.dtype))
    # A tensor without dimensions would not take part in type promotion, a column does.
    return option.reshape(-1, 1).expand(logits.shape[0], 1)


def select_option(option: Tensor, rows: Tensor) -> Tensor:
    """The option of the rows kept: a number stays, a [B] tensor is indexed."""
    return option[rows.to(option.device)] if option.dim() else option


def expand_rows(name: str, values: Tensor, batch_size: int) -> Tensor:
    """Repeat each row for its beams: [B, ...] to [B * K, ...], row i becoming rows i*K to i*K+K-1."""
    if values.shape[0] == batch_size:
        return values
    if values.shape[0] == 0 or batch_size % values.shape[0]:
        raise ValueError(f"{name} must have a number of rows that divides {batch_size}; got {values.shape[0]}")
    return values.repeat_interleave(batch_size // values.shape[0], dim=0)
