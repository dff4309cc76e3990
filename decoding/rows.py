"""Options that are one value for a batch or one value per row, and the checks at the public boundary.

A per-row option gives every row the result the same value would give the whole batch, bit for bit. Two things make
that true: derived values (``1 - top_p``) are formed in float64 before they are rounded, and arithmetic with a per-row
tensor is done in the type that torch uses for a Python scalar (float32 for float16 and bfloat16 logits).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

RowOption: TypeAlias = float | Sequence[float] | Tensor

Requirement: TypeAlias = tuple[str, Callable[[Tensor], Tensor]]
UNIT: Requirement = ("in [0, 1]", lambda x: (x >= 0) & (x <= 1))
OPEN_UNIT: Requirement = ("in (0, 1]", lambda x: (x > 0) & (x <= 1))
HALF_OPEN_UNIT: Requirement = ("in [0, 1)", lambda x: (x >= 0) & (x < 1))
POSITIVE: Requirement = ("a finite number > 0", lambda x: (x > 0) & x.isfinite())
NON_NEGATIVE: Requirement = ("a finite number >= 0", lambda x: (x >= 0) & x.isfinite())
COUNT: Requirement = ("an integer >= 0", lambda x: (x >= 0) & (x == x.floor()) & x.isfinite())
FINITE: Requirement = ("a finite number", lambda x: x.isfinite())


@lru_cache(maxsize=512)
def _number_holds(requirement: Requirement, value: float) -> bool:
    return bool(requirement[1](torch.tensor(value, dtype=torch.float64)))


def check_logits(logits: Tensor, name: str = "logits") -> None:
    """Raise unless ``logits`` is a floating tensor of shape [B, V] with V >= 1. Reads no value."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(logits).__name__}")
    if not logits.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor; got {logits.dtype}")
    if logits.dim() != 2 or logits.shape[1] == 0:
        raise ValueError(f"{name} must be of shape [B, V] with V >= 1; got {list(logits.shape)}")


def check_count(name: str, value: object, least: int = 1) -> int:
    """Return ``value`` if it is a Python int of at least ``least``; raise otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}; got {value}")
    return value


def per_row(
    name: str,
    value: RowOption,
    batch_size: int | None,
    device: torch.device | None,
    requirement: Requirement,
    *,
    validate: bool | None = None,
) -> float | Tensor:
    """Read an option: a Python float for the batch, or a float64 tensor [B, 1] on ``device``.

    batch_size None accepts any length; device None leaves a tensor where it is. A float32, float16 or bfloat16 tensor
    is read as the decimal it stands for (0.9, not 0.89999998), where it has at most six decimals. Values are checked
    when they are on the host, and on another device only with ``validate=True``, since that waits for the device.
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, a sequence of numbers or a tensor; got bool")
    if isinstance(value, int | float):
        if not _number_holds(requirement, float(value)):
            raise ValueError(f"{name} must be {requirement[0]}; got {value}")
        return float(value)
    if isinstance(value, Tensor):
        if value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"{name} must be a tensor of numbers; got {value.dtype}")
        values = as_written(value.detach())
    else:
        try:
            values = torch.tensor([float(v) for v in value], dtype=torch.float64)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise TypeError(f"{name} must be a number, a sequence of numbers or a tensor; got {kind}") from None
    if values.dim() == 0:
        values = values.reshape(1) if batch_size is None else values.expand(batch_size)
    if values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() != 1 or batch_size not in (None, values.shape[0]):
        want = "[B]" if batch_size is None else f"[{batch_size}]"
        raise ValueError(f"{name} must be a number or of shape {want}, one per row; got {list(values.shape)}")
    if validate or (validate is None and values.device.type == "cpu"):
        bad = ~requirement[1](values)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise ValueError(f"{name} must be {requirement[0]}; got {values[row].item():g} in row {row}")
    return values.to(device)[:, None] if device is not None else values[:, None]


def as_written(values: Tensor) -> Tensor:
    """``values`` in float64, a short decimal kept in a smaller type read as that decimal: 0.9, not 0.89999998."""
    exact = values.to(torch.float64)
    if not values.is_floating_point() or values.dtype == torch.float64:
        return exact
    decimal = (exact * 1e6).round() / 1e6
    return torch.where(decimal.to(values.dtype) == values, decimal, exact)


def of_rows(option: float | Tensor, rows: list[int] | slice) -> float | Tensor:
    """What ``per_row`` gave, for some of the rows."""
    return option[rows] if isinstance(option, Tensor) else option


def as_border(value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """What ``probs < value`` compares with: torch rounds a Python scalar to the tensor's own type."""
    return value.to(dtype) if isinstance(value, Tensor) else value


def scaled(tensor: Tensor, factor: float | Tensor) -> Tensor:
    """``tensor * factor`` with the rounding of a Python scalar, for a scalar and per row alike."""
    if not isinstance(factor, Tensor):
        return tensor * factor
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return (tensor.to(wide) * factor.to(wide)).to(tensor.dtype)


def divided(tensor: Tensor, divisor: float | Tensor) -> Tensor:
    """``tensor / divisor`` with the rounding of a Python scalar, for a scalar and per row alike.

    CUDA multiplies by the reciprocal of a scalar divisor; the CPU divides.
    """
    if not isinstance(divisor, Tensor):
        return tensor / divisor
    wide = torch.promote_types(tensor.dtype, torch.float32)
    divisor = divisor.to(wide)
    quotient = tensor.to(wide) * divisor.reciprocal() if tensor.is_cuda else tensor.to(wide) / divisor
    return quotient.to(tensor.dtype)


def check_seeds(seeds: Sequence[int] | Tensor, batch_size: int, device: torch.device) -> Tensor:
    """Seeds as int64 [B] on ``device``; Python ints of any size, modulo 2**64."""
    if not isinstance(seeds, Tensor):
        if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
            raise TypeError("seeds must be ints, one per row")
        wrapped = [(seed + 2**63) % 2**64 - 2**63 for seed in seeds]
        seeds = torch.tensor(wrapped, dtype=torch.int64)
    if seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool:
        raise TypeError(f"seeds must be integers; got {seeds.dtype}")
    if seeds.shape != (batch_size,):
        raise ValueError(f"seeds must be of shape [{batch_size}], one per row; got {list(seeds.shape)}")
    return seeds.to(device=device, dtype=torch.int64)


def check_finite(logits: Tensor) -> None:
    """Raise if a row has a NaN, a +inf or nothing above -inf. Costs one read of the logits."""
    if logits.shape[0]:
        check_row_maxima(logits.amax(-1))


def check_row_maxima(maxima: Tensor) -> None:
    """The same check from the rows' maxima [N]: NaN counts as the largest."""
    good = maxima.isfinite()
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        value = maxima[row].item()
        found = {math.inf: "+inf", -math.inf: "only -inf"}.get(value, "NaN")
        raise ValueError(f"logits must have no NaN, no +inf and a finite value in every row; got {found} in row {row}")
