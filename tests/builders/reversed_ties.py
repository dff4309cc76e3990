"""Another build of torch, forced: a sort and a topk that leave equal values the other way round."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

__all__ = ["require_order_of_this_build", "reverse_ties"]


def reverse_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on ``sort`` and ``topk``, as functions and as methods, see each row from its end."""
    sort, topk = torch.Tensor.sort, torch.Tensor.topk

    def reversed_sort(self: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
        # stable or not: which of equal values comes first is what differs, so that a stable sort is left alone
        if stable:
            return sort(self, dim=dim, descending=descending, stable=True)
        values, order = sort(self.flip(dim), dim=dim, descending=descending, stable=True)
        return torch.return_types.sort((values, self.shape[dim] - 1 - order))

    def reversed_topk(self: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
        values, order = topk(self.flip(dim), k, dim=dim, largest=largest, sorted=sorted)
        return torch.return_types.topk((values, self.shape[dim] - 1 - order))

    for owner in (torch, torch.Tensor):
        monkeypatch.setattr(owner, "sort", reversed_sort)
        monkeypatch.setattr(owner, "topk", reversed_topk)


def require_order_of_this_build(monkeypatch: pytest.MonkeyPatch, both: Callable[[], tuple[Any, Any]]) -> None:
    """Ours and torch's own, as ``both`` gives them, are equal here, and with ties reversed, where torch gives others.

    The ties stay reversed until ``monkeypatch`` is undone.
    """
    ours, theirs = both()
    assert ours == theirs
    reverse_ties(monkeypatch)
    ours, other = both()
    assert ours == other
    assert other != theirs
