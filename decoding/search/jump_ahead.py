"""Tokens that are certain before the model is asked: appended at once, and read by the model together."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .progress import Progress

__all__ = ["MOST_TOKENS", "Certain", "extend"]

MOST_TOKENS = 64  # tokens that one forward reads


class Certain(Protocol):
    """Knows what must follow, as a grammar does; a stage of the loop."""

    def certain(self) -> Sequence[int | None] | None:
        """The next token of each row where none has a choice; None for a row that has ended, None where one has."""
        ...

    def passed(self) -> None:
        """These tokens were appended, and nothing was drawn."""
        ...


class _Stage(Protocol):
    def advance(self, token_ids: Tensor) -> None: ...


def extend(chosen: Tensor, progress: Progress, processors: Sequence[_Stage], ahead: Certain | None) -> Tensor:
    """Append the ``chosen`` tokens [N], tell every stage, and append what is certain to follow.

    Returns what the model is to be fed, [N] or [N, 1 + T]. Ends where a row has a choice, and where a row ends.
    """
    columns = [progress.append(chosen)]
    alive = progress.num_alive
    while not progress.over:
        for processor in processors:
            processor.advance(columns[-1])
        if ahead is None or progress.late or progress.num_alive < alive or len(columns) == MOST_TOKENS:
            break
        following = ahead.certain()
        if following is None or not _all_end(following, progress):
            break
        tokens = torch.tensor([0 if token is None else token for token in following], device=chosen.device)
        columns.append(progress.append(tokens))
        ahead.passed()
    return columns[0] if len(columns) == 1 else torch.stack(columns, dim=1)


def _all_end(following: Sequence[int | None], progress: Progress) -> bool:
    """Whether every row of which nothing is known has ended."""
    if None not in following:
        return True
    return not any(token is None and goes for token, goes in zip(following, progress.going_on(), strict=True))
