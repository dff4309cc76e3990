"""When a row is finished: a length, a set of tokens, a clock, a row's own limits, or any function of the ids so far."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

__all__ = ["Stopping", "Verdict", "hits_token", "read_verdict"]

# What a criterion may return: one answer for all rows, or one a row.
Verdict = bool | int | np.generic | np.ndarray | Tensor
Criterion = Callable[[Tensor, object], Verdict]


def hits_token(token_ids: Tensor, stop_ids: Tensor) -> Tensor:
    """Whether each token is one of ``stop_ids`` [E]; a bool tensor of ``token_ids``' shape.

    >>> hits_token(torch.tensor([1, 2, 3]), torch.tensor([2, 9]))
    tensor([False,  True, False])
    """
    if stop_ids.numel() == 1:
        return token_ids == stop_ids
    if token_ids.device.type == "cpu":
        return torch.isin(token_ids, stop_ids)
    # There it launches four operations for a few ids, and sorts and waits for more.
    return (token_ids[..., None] == stop_ids).any(dim=-1)


def read_verdict(verdict: Verdict, like: Tensor) -> Tensor:
    """What a criterion returned as bools of the shape and on the device of ``like``.

    verdict: a bool or int for all rows, or a tensor or array with one element or one for each of ``like``. Of an int
    the lowest bit counts: transformers takes the rest by its bitwise not.
    Raises TypeError for what is neither, ValueError for another number of elements.
    >>> read_verdict(True, torch.zeros(2)), read_verdict(torch.tensor([2, 3]), torch.zeros(2))
    (tensor([True, True]), tensor([False,  True]))
    """
    if isinstance(verdict, bool | int | np.generic | np.ndarray):
        verdict = torch.as_tensor(verdict.item() if isinstance(verdict, np.generic) else verdict)
    if not isinstance(verdict, Tensor) or verdict.is_floating_point() or verdict.is_complex():
        kind = verdict.dtype if isinstance(verdict, Tensor) else type(verdict).__name__
        raise TypeError(f"stopping_criteria must return bools; got {kind}")
    if verdict.numel() not in (1, like.numel()):
        raise ValueError(
            f"stopping_criteria must return one bool or one for each of the {like.numel()} rows; "
            f"got shape {list(verdict.shape)}"
        )
    if verdict.dtype != torch.bool:
        verdict = (verdict & 1).bool()
    return verdict.to(like.device).reshape(like.shape if verdict.numel() == like.numel() else ()).expand(like.shape)


@dataclass
class Stopping:
    """Every reason to finish a row, asked together after each new token.

    max_length: total length (prompt included) at which every row ends. eos_token_id: [E], any of them ends a row.
    deadline: ``time.time()`` after which every row ends. row_max_length [B] and row_eos_token_id [B, E] (filled with
    -1) are the same per row of the original batch. criteria: functions of (ids [N, T], scores) giving [N] bools or one,
    as transformers' StoppingCriteria are; they see every row, so they keep finished rows in the batch. repeatable:
    whether they may be asked about a step a second time, with other tokens: they remember nothing.
    """

    max_length: int | None = None
    eos_token_id: Tensor | None = None
    deadline: float | None = None
    row_max_length: Tensor | None = None
    row_eos_token_id: Tensor | None = None
    criteria: Sequence[Criterion] = field(default=())
    repeatable: bool = False

    @property
    def needs_ids(self) -> bool:
        """Whether a criterion reads the whole batch's ids."""
        return bool(self.criteria)

    @property
    def may_end_rows(self) -> bool:
        """Whether a row may end before all of them do, at a length or a moment."""
        limits = (self.eos_token_id, self.row_max_length, self.row_eos_token_id)
        return bool(self.criteria) or any(each is not None for each in limits)

    def all_end(self, tokens: Sequence[int]) -> bool:
        """Whether each of these tokens, on the host, is one that ends every row."""
        return bool(self._ends) and self._ends.issuperset(tokens)

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset() if self.eos_token_id is None else frozenset(self.eos_token_id.flatten().tolist())

    def everywhere(self, length: int) -> bool:
        """Whether every row ends at this length or moment, without a look at the tokens."""
        if self.max_length is not None and length >= self.max_length:
            return True
        return self.deadline is not None and time.time() > self.deadline

    def finished(
        self,
        token_ids: Tensor,
        length: int,
        *,
        ids: Callable[[], Tensor] | None = None,
        scores: object = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Which rows end with their new token ``token_ids`` [N] (any shape without per-row limits), as bools.

        length: total length with the new token. ids: gives the tokens so far, [N, T], for ``criteria``. rows: [N] the
        original rows still alive, None for all.
        """
        if self.everywhere(length):
            done = torch.ones_like(token_ids, dtype=torch.bool)
        elif self.eos_token_id is not None:
            done = hits_token(token_ids, self.eos_token_id)
        else:
            done = torch.zeros_like(token_ids, dtype=torch.bool)
        if self.row_max_length is not None:
            limits = self.row_max_length if rows is None else self.row_max_length[rows]
            done = done | (limits <= length)
        if self.row_eos_token_id is not None:
            own = self.row_eos_token_id if rows is None else self.row_eos_token_id[rows]
            done = done | (token_ids[:, None] == own).any(dim=1)
        for criterion in self.criteria:
            if ids is None:
                raise ValueError("ids must be given when there are criteria; got None")
            done = done | read_verdict(criterion(ids(), scores), done)
        return done
