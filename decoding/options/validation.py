"""Options that are one value for a batch or one value per row, and the checks at the public boundary.

A per-row option gives every row the result the same value would give the whole batch, bit for bit. Two things make
that true: derived values (``1 - top_p``) are formed in float64 before they are rounded, and arithmetic with a per-row
tensor is done in the type that torch uses for a Python scalar (float32 for float16 and bfloat16 logits).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .numpy_or_torch import formed_once, sent

RowOption: TypeAlias = float | Sequence[float] | Tensor

Steps: TypeAlias = int | Sequence[int] | Tensor  # of a draw: one for the batch, or one per row


@dataclass(frozen=True)
class RowSteps:
    """A step for each of the N rows that are given, [N] int64, of which several may be one row of the batch."""

    steps: Tensor

    def tolist(self) -> list[int]:
        """The steps on the host."""
        found: list[int] = self.steps.tolist()
        return found


Step: TypeAlias = int | Tensor | RowSteps  # one for the batch, one per row of it, or one per row given

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
    return bool(requirement[1](torch.tensor(value, dtype=torch.float64, device="cpu")))


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
    value = as_option(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not _number_holds(requirement, float(value)):
            raise ValueError(f"{name} must be {requirement[0]}; got {value}")
        return float(value)
    values = _one_per_row(name, _numbers(name, value), batch_size)
    if validate or (validate is None and values.device.type == "cpu"):
        bad = ~requirement[1](values)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise ValueError(f"{name} must be {requirement[0]}; got {values[row].item():g} in row {row}")
    return sent(values, device)[:, None] if device is not None else values[:, None]


def _one_per_row(name: str, values: Tensor, batch_size: int | None) -> Tensor:
    """``values`` of shape [], [B] or [B, 1] as [B]; any B where ``batch_size`` is None."""
    if values.dim() == 0:
        values = values.reshape(1) if batch_size is None else values.expand(batch_size)
    if values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() != 1 or batch_size not in (None, values.shape[0]):
        want = "[B]" if batch_size is None else f"[{batch_size}]"
        raise ValueError(f"{name} must be a number or of shape {want}, one per row; got {list(values.shape)}")
    return values


def _numbers(name: str, value: Any) -> Tensor:
    """A tensor or a tuple of numbers as float64."""
    if isinstance(value, Tensor):
        if value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"{name} must be a tensor of numbers; got {value.dtype}")
        return as_written(value.detach())
    if not isinstance(value, tuple):
        kind = type(value).__name__
        raise TypeError(f"{name} must be a number, a sequence of numbers or a tensor; got {kind}")
    for row, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{name} must be a number, or numbers, one per row; got {number!r} in row {row}")
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def as_option(value: Any) -> Any:
    """``value`` with numbers of numpy and torch (of the host) as Python's, sequences as tuples, arrays as tensors."""
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return value
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "iufb":
        value = torch.from_numpy(np.array(value))
    if isinstance(value, Tensor):
        return _number_of(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(x if type(x) in (int, float) else as_option(x) for x in value)
    return value


def _number_of(value: Tensor) -> Any:
    """A tensor of the host without dimensions as Python's number; any other tensor as it is."""
    if value.dim() or value.device.type != "cpu" or value.is_complex():
        return value
    if value.dtype in (torch.bool, torch.float64):
        return value.item()
    number = as_written(value.detach()).item()
    return number if value.is_floating_point() else int(number)


def same_option(one: Any, other: Any) -> bool:
    """Whether two options are equal, tensors in them by their values."""
    for kind, same in _SAME:
        if isinstance(one, kind) and isinstance(other, kind):
            return same(one, other)
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and bool(one == other)


def _same_tensor(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu())


def _same_mapping(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    return list(one) == list(other) and all(same_option(one[key], other[key]) for key in one)


def _same_entries(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(same_option, one, other))


_SAME: tuple[tuple[Any, Callable[[Any, Any], bool]], ...] = (
    (Tensor, _same_tensor),
    (Mapping, _same_mapping),
    ((list, tuple), _same_entries),
)


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


def on_device_of(device: torch.device, option: float | Tensor) -> Tensor:
    """What ``per_row`` gave as a float64 tensor, [B, 1] or [1, 1], on ``device``: nothing is sent there."""
    return option if isinstance(option, Tensor) else torch.full((1, 1), option, dtype=torch.float64, device=device)


def as_border(value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """What ``probs < value`` compares with: torch rounds a Python scalar to the tensor's own type."""
    return value.to(dtype) if isinstance(value, Tensor) else value


def scaled(tensor: Tensor, factor: float | Tensor) -> Tensor:
    """``tensor * factor`` with the rounding of a Python scalar, for a scalar and per row alike."""
    if not isinstance(factor, Tensor):
        return tensor * factor
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return (tensor.to(wide) * factor.to(wide)).to(tensor.dtype)


def divided(tensor: Tensor, divisor: float | Tensor, *, exact: bool = False) -> Tensor:
    """``tensor / divisor`` with the rounding of a Python scalar, for a scalar and per row alike.

    CUDA multiplies by the reciprocal of a scalar divisor; the CPU divides, and so does CUDA if ``exact``.
    """
    wide = torch.promote_types(tensor.dtype, torch.float32)
    if not isinstance(divisor, Tensor):
        if not (exact and tensor.is_cuda):
            return tensor / divisor
        divisor = _divisor(divisor, wide, tensor.device)
    divisor = divisor.to(wide)
    reciprocal = tensor.is_cuda and not exact
    quotient = tensor.to(wide) * divisor.reciprocal() if reciprocal else tensor.to(wide) / divisor
    return quotient.to(tensor.dtype)


@formed_once
def _divisor(divisor: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((1, 1), divisor, dtype=dtype, device=device)


def check_seeds(seeds: Sequence[int] | Tensor, batch_size: int, device: torch.device) -> Tensor:
    """Seeds as int64 [B] on ``device``; Python ints of any size, modulo 2**64."""
    if type(seeds) is list and len(seeds) == batch_size and all(type(s) is int and 0 <= s < 2**63 for s in seeds):
        return sent(torch.from_numpy(np.array(seeds, dtype=np.int64)), device)  # half the time of torch.tensor
    if isinstance(seeds, np.ndarray):
        seeds = seeds.tolist()
    if not isinstance(seeds, Tensor):
        if not isinstance(seeds, Sequence) or isinstance(seeds, str | bytes):
            raise TypeError(f"seeds must be ints, one per row; got {type(seeds).__name__}")
        seeds = _wrapped("seeds", seeds)
    if not _holds_ints(seeds):
        raise TypeError(f"seeds must be integers; got {seeds.dtype}")
    if seeds.shape != (batch_size,):
        raise ValueError(f"seeds must be of shape [{batch_size}], one per row; got {list(seeds.shape)}")
    return sent(seeds.to(torch.int64), device)


def check_step(step: Any, batch_size: int) -> int | Tensor:
    """The step of a draw as an int, or as an integer tensor, [] or [B], for one per row; modulo 2**64 like seeds."""
    if type(step) is int:
        return step
    if isinstance(step, np.ndarray):
        step = step.tolist()
    if isinstance(step, Sequence) and not isinstance(step, str | bytes):
        step = _wrapped("step", step)
    if not isinstance(step, Tensor):
        return _whole("step", step)
    if not _holds_ints(step):
        raise TypeError(f"step must be an int, or ints, one per row; got {step.dtype}")
    if step.shape not in ((), (batch_size,)):
        raise ValueError(f"step must be an int or of shape [{batch_size}], one per row; got {list(step.shape)}")
    return step


def steps_of(step: Tensor | RowSteps, rows: Tensor | None) -> Tensor:
    """The steps of the rows given, [] or [N]."""
    if isinstance(step, RowSteps):
        return step.steps
    return step if rows is None or not step.dim() else step[rows]


def check_generator(generator: object, device: torch.device) -> None:
    """Raise unless ``generator`` is None or a generator of the device of the logits."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator; got {type(generator).__name__}")
    if generator.device.type != device.type:
        raise ValueError(f"generator must be on {device}, where the logits are; got one on {generator.device}")


def check_rows(rows: Tensor, count: int, batch_size: int) -> None:
    """Raise unless ``rows`` is int64 [count], rows of a batch; their range is checked on the CPU."""
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64:
        kind = rows.dtype if isinstance(rows, Tensor) else type(rows).__name__
        raise TypeError(f"rows must be an int64 tensor; got {kind}")
    if rows.shape != (count,):
        raise ValueError(f"rows must be of shape [{count}], one per row; got {list(rows.shape)}")
    if rows.device.type == "cpu" and count and not 0 <= int(rows.min()) <= int(rows.max()) < batch_size:
        bad = next(row for row in rows.tolist() if not 0 <= row < batch_size)
        raise ValueError(f"rows must be in [0, {batch_size}); got {bad}")


def _holds_ints(values: Tensor) -> bool:
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)


def _wrapped(name: str, values: Sequence[Any]) -> Tensor:
    whole = [_whole(name, value, row) for row, value in enumerate(values)]
    return torch.tensor([(value + 2**63) % 2**64 - 2**63 for value in whole], dtype=torch.int64, device="cpu")


def _whole(name: str, value: Any, row: int | None = None) -> int:
    """``value`` as an int; TypeError for a bool and for what has no ``__index__``, naming the row if there is one."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return index(value)
    except TypeError:
        wanted = "an int, or ints, one per row" if row is None else "ints, one per row"
        place = "" if row is None else f" in row {row}"
        raise TypeError(f"{name} must be {wanted}; got {value!r}{place}") from None


def check_finite(logits: Tensor, name: str = "logits") -> None:
    """Raise if a row has a NaN, a +inf or nothing above -inf. Costs one read of the logits."""
    if logits.shape[0]:
        check_row_maxima(logits.amax(-1), name)


def check_row_maxima(maxima: Tensor, name: str = "logits") -> None:
    """The same check from the rows' maxima [N]: NaN counts as the largest."""
    good = maxima.isfinite()
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        value = maxima[row].item()
        found = {math.inf: "+inf", -math.inf: "only -inf"}.get(value, "NaN")
        raise ValueError(f"{name} must have no NaN, no +inf and a finite value in every row; got {found} in row {row}")
