"""Whether two sides of a pair gave the same answer: raise at the first place where they differ, never return a bool."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch


class UnequalAnswers(AssertionError):
    """Two sides that were to be timed against each other do not give the same answer."""


def require_same(ours: Any, theirs: Any, *, rtol: float = 0.0, where: str = "answer") -> None:
    """Raise `UnequalAnswers`, naming the first place that differs, unless both answers are the same.

    Tensors and numpy arrays must have equal shapes and values; containers are walked, dataclasses too; ``rtol`` is the
    relative tolerance for floating values (0: bit for bit). NaN equals NaN and an infinity equals itself.

    >>> require_same([{"score": 0.5}], [{"score": 0.5}])
    >>> require_same([1, 2], [1, 3])
    Traceback (most recent call last):
    afterlogits.benchmarks.answers.UnequalAnswers: answer[1] differs: ours 2, theirs 3
    """
    if _is_array(ours) or _is_array(theirs):
        _require_same_tensor(_as_tensor(ours, where), _as_tensor(theirs, where), rtol=rtol, where=where)
    elif dataclasses.is_dataclass(ours) and not isinstance(ours, type):
        names = [field.name for field in dataclasses.fields(ours)]
        for name in names:
            require_same(getattr(ours, name), getattr(theirs, name, None), rtol=rtol, where=f"{where}.{name}")
    elif isinstance(ours, Mapping):
        if not isinstance(theirs, Mapping) or set(ours) != set(theirs):
            raise UnequalAnswers(f"{where} differs: ours has keys {_keys(ours)}, theirs {_keys(theirs)}")
        for key, value in ours.items():
            require_same(value, theirs[key], rtol=rtol, where=f"{where}[{key!r}]")
    elif isinstance(ours, Sequence) and not isinstance(ours, (str, bytes)):
        if not isinstance(theirs, Sequence) or isinstance(theirs, (str, bytes)) or len(ours) != len(theirs):
            raise UnequalAnswers(f"{where} differs: ours has {len(ours)} items, theirs {_length(theirs)}")
        for index, (left, right) in enumerate(zip(ours, theirs, strict=True)):
            require_same(left, right, rtol=rtol, where=f"{where}[{index}]")
    elif isinstance(ours, float) or isinstance(theirs, float):
        _require_same_float(ours, theirs, rtol=rtol, where=where)
    elif ours != theirs:
        raise UnequalAnswers(f"{where} differs: ours {ours!r}, theirs {theirs!r}")


def require_same_choice(ours: Any, theirs: Any) -> None:
    """`require_same` for scores that two summation orders round differently: floating values to 1e-5 relative."""
    require_same(ours, theirs, rtol=1e-5)


def _require_same_tensor(ours: torch.Tensor, theirs: torch.Tensor, *, rtol: float, where: str) -> None:
    """Raise UnequalAnswers naming the first difference; NaN equals NaN, ``rtol`` is relative."""
    if ours.shape != theirs.shape:
        raise UnequalAnswers(f"{where} differs: ours has shape {list(ours.shape)}, theirs {list(theirs.shape)}")
    theirs = theirs.to(ours.device)
    same = ours == theirs
    if ours.is_floating_point() or theirs.is_floating_point():
        same |= ours.isnan() & theirs.isnan()
        if rtol:
            same |= (ours - theirs).abs() <= rtol * theirs.abs()
    if bool(same.all()):
        return
    at = tuple(int(index) for index in (~same).nonzero()[0])
    count = int((~same).sum())
    raise UnequalAnswers(
        f"{where}{list(at)} differs: ours {ours[at].item()}, theirs {theirs[at].item()}"
        f" ({count} of {same.numel()} values differ)"
    )


def _require_same_float(ours: Any, theirs: Any, *, rtol: float, where: str) -> None:
    try:
        left, right = float(ours), float(theirs)
    except (TypeError, ValueError):
        raise UnequalAnswers(f"{where} differs: ours {ours!r}, theirs {theirs!r}") from None
    both_nan = math.isnan(left) and math.isnan(right)
    if left != right and not both_nan and not abs(left - right) <= rtol * abs(right):
        raise UnequalAnswers(f"{where} differs: ours {left!r}, theirs {right!r}")


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (hasattr(value, "__array__") and hasattr(value, "shape"))


def _as_tensor(value: Any, where: str) -> torch.Tensor:
    try:
        return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise UnequalAnswers(f"{where} differs: one side is an array, the other is {type(value).__name__}") from None


def _keys(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, Mapping) else f"none: it is {type(value).__name__}"


def _length(value: Any) -> Any:
    return len(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else repr(value)
