"""Softmax and sigmoid in transformers' own arithmetic, and the check that no logit is NaN.

transformers computes the probabilities of most of its pipelines in numpy. numpy's exponential and pairwise sum differ
from torch's in the last bit for more than half of all values, which is enough to turn a near tie the other way. On the
CPU the functions here therefore run numpy on the tensor's own memory; on any other device they are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

IN_CACHE = 1 << 15  # values of a block of rows: 128 KiB of float32


def as_computed(logits: Tensor, *, keep_half: bool = False) -> Tensor:
    """The dtype transformers computes in: float32 for bfloat16 (and float16 unless ``keep_half``), else unchanged."""
    if logits.dtype == torch.bfloat16 or (logits.dtype == torch.float16 and not keep_half):
        return logits.float()
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point; got {logits.dtype}")
    return logits


def softmax(logits: Tensor) -> Tensor:
    """Softmax over the last axis. logits: [..., C] float; returns [..., C] in the same dtype.

    CPU: numpy's exponential, pairwise sum and division, bit for bit what transformers computes. A row of -inf alone
    gives NaN, as there; kernels decide what that means.
    """
    if logits.shape[-1] == 0 or logits.numel() == 0:
        return torch.empty_like(logits)
    if logits.device.type != "cpu":
        return logits.softmax(dim=-1)
    values = logits.detach().contiguous().numpy()
    with np.errstate(invalid="ignore", under="ignore"):
        # A largest value is the same by any order of reading; torch reads large tensors with all threads.
        few = values.size <= IN_CACHE
        largest = values.max(axis=-1, keepdims=True) if few else logits.detach().amax(dim=-1, keepdim=True).numpy()
        return torch.from_numpy(_softmax_of_shifted(values - largest))


def masked_softmax(logits: Tensor, allowed: Tensor, blocked: float, beside: Tensor | None = None) -> Tensor:
    """Softmax over the last axis with ``blocked`` in place of the logits that are not ``allowed``.

    logits: [W, L] float. allowed: [W, L] bool. beside: further logits [W, L] under the same mask, whose probabilities
    come behind the others: [2 W, L]. On the CPU numpy does all of it: for rows of some hundred values the threads of a
    parallel operation cost more than they save.
    """
    both = [logits] if beside is None else [logits, beside]
    if logits.device.type != "cpu":
        return torch.where(allowed, torch.stack(both), blocked).softmax(dim=-1).flatten(0, 1)
    mask, values = allowed.numpy(), [each.detach().numpy() for each in both]
    probs = np.full((len(both), *logits.shape), blocked, dtype=values[0].dtype)
    with np.errstate(invalid="ignore", under="ignore"):
        for rows in blocks(len(mask), probs.size // max(1, len(mask))):
            part = probs[:, rows]
            for own, each in zip(part, values, strict=True):
                np.copyto(own, each[rows], where=mask[rows])
            part -= part.max(axis=-1, keepdims=True)
            _softmax_of_shifted(part)
    return torch.from_numpy(probs.reshape(-1, logits.shape[1]))


def blocks(rows: int, length: int) -> Iterator[slice]:
    """Slices of rows whose values stay in the processor's cache from one operation to the next."""
    step = max(1, IN_CACHE // max(length, 1))
    return (slice(first, first + step) for first in range(0, rows, step))


def any_in_row(mask: Tensor) -> Tensor:
    """[W, 1] bool: whether a row of a [W, L] mask holds True."""
    if mask.device.type != "cpu":
        return mask.any(dim=1, keepdim=True)
    return torch.from_numpy(mask.numpy().any(axis=1, keepdims=True))


def _softmax_of_shifted(shifted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Written over its argument: logits minus the largest of their row."""
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def sigmoid(logits: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))`` of a tensor of any shape, in numpy on the CPU. Finite for finite logits; -inf gives 0."""
    if logits.device.type != "cpu" or logits.numel() == 0:
        return logits.sigmoid()
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(1.0 / (1.0 + np.exp(-logits.detach().contiguous().numpy())))


def few_probabilities(logits: np.ndarray[Any, Any], function: str) -> np.ndarray[Any, Any]:
    """``function`` ("softmax", "sigmoid" or "none") of a few logits [B, C], the bits of ``softmax`` and ``sigmoid``;
    numpy's warnings are the caller's."""
    if function == "softmax":
        return _softmax_of_shifted(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    return logits if function == "none" else 1.0 / (1.0 + np.exp(-logits))


def largest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each row of ``values`` [N, C], and its place, the first of equals: [N] and [N] int64.

    On the CPU numpy finds it: torch shares even a few rows out to its threads. Values may not be NaN.
    >>> largest(torch.tensor([[0.5, 0.5, 0.0]]))
    (tensor([0.5000]), tensor([0]))
    """
    if values.device.type != "cpu" or values.shape[0] == 0 or values.dtype == torch.bfloat16:
        found, place = values.max(dim=1)
        return found, place
    rows = values.detach().numpy()
    best = rows.argmax(axis=1)
    return torch.from_numpy(rows[np.arange(rows.shape[0]), best]), torch.from_numpy(best)


def refuse_nan(name: str, values: Tensor, row: str = "row") -> None:
    """Raise ValueError naming the first row (axis 0) of a CPU tensor that holds NaN. Other devices are not read."""
    if not holds_nan(values):
        return
    bad = torch.isnan(values).reshape(values.shape[0], -1).any(dim=1) if values.dim() else torch.isnan(values)[None]
    if bool(bad.any()):
        raise ValueError(f"{name} must not be NaN; got NaN in {row} {int(bad.int().argmax())}")


def holds_nan(values: Tensor) -> bool:
    """Whether a CPU tensor may hold NaN: False is certain, other devices are not read and give False."""
    if values.device.type != "cpu" or values.numel() == 0:
        return False
    # One pass that allocates nothing and is not shared out to threads. numpy takes a NaN for the least of all values.
    if values.dtype in (torch.float32, torch.float64):
        return math.isnan(np.minimum.reduce(values.detach().numpy(), axis=None))
    # A sum is NaN if any value is (or if +inf meets -inf, which the mask tells apart).
    return math.isnan(values.sum(dtype=torch.float32).item())


def check_shape(name: str, values: Tensor, axes: str, expected: tuple[int | None, ...]) -> None:
    """Raise ValueError unless ``values`` has the expected shape; None leaves an axis free."""
    fits = values.dim() == len(expected) and all(
        want is None or want == got for want, got in zip(expected, values.shape, strict=True)
    )
    if not fits:
        wanted = (
            "["
            + ", ".join(axes if want is None else str(want) for axes, want in zip(axes, expected, strict=True))
            + "]"
        )
        raise ValueError(f"{name} must be {wanted}; got shape {list(values.shape)}")


def check_positive(name: str, value: int) -> None:
    """Raise unless ``value`` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def distinct_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows [U, K] of an [N, K] tensor in ascending order, and which of them each row is, [N]."""
    if values.shape[0] == 0:
        return values, values.new_zeros(0, dtype=torch.long)
    rows, member = torch.unique(values, dim=0, return_inverse=True)
    return rows, member.reshape(-1)
