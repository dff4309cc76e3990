"""Tokens that are certain before the model is asked: appended at once, and read by the model together."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .progress import Progress

__all__ = ["Certain", "jump"]

_MOST = 64  # tokens that one forward reads


class Certain(Protocol):
    """Knows what must follow, as a grammar does; a stage of the loop."""

    def certain(self) -> Sequence[int | None] | None:
        """The next token of each row where none has a choice; None for a row that has ended, None where one has."""
        ...

    def advance(self, token_ids: Tensor) -> None: ...


class _Stage(Protocol):
    def advance(self, token_ids: Tensor) -> None: ...


def jump(token_ids: Tensor, progress: Progress, processors: Sequence[_Stage], ahead: Certain) -> Tensor:
    """Append what is certain to follow ``token_ids`` [N], which every stage has heard of.

    Returns what the model is to be fed, [N] or [N, 1 + T]. Ends where a row has a choice, and where a row ends.
    """
    columns = [token_ids]
    alive = progress.num_alive
    while len(columns) < _MOST and (following := ahead.certain()) is not None:
        going_on = progress.going_on()
        if any(token is None and goes for token, goes in zip(following, going_on, strict=True)):
            break
        tokens = torch.tensor([0 if token is None else token for token in following], device=token_ids.device)
        columns.append(progress.append(tokens))
        if progress.over:
            break
        for processor in processors:
            processor.advance(columns[-1])
        if progress.num_alive < alive:
            break
    return token_ids if len(columns) == 1 else torch.stack(columns, dim=1)
