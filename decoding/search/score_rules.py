"""Rules as transformers has its processors: functions of the token ids so far and the scores."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .history import History

__all__ = ["RuleProcess", "ScoreRule"]

ScoreRule = Callable[[Tensor, Tensor], Tensor]  # (token ids so far [N, T], scores [N, V]) -> scores [N, V]


@dataclass(frozen=True)
class RuleProcess:
    """A rule as a processor of a loop: it reads the history, so it has nothing to learn from a token or a row."""

    rule: ScoreRule
    history: History

    def apply(self, logits: Tensor) -> Tensor:
        """The rule on the ids as they are now; every row of the history must still be there."""
        return self.rule(self.history.ids, logits)

    def advance(self, token_ids: Tensor) -> None:
        """The history has the token already."""

    def select_rows(self, rows: Tensor) -> None:
        """The history keeps every row: loops whose rows leave take steps instead of rules."""
        raise ValueError("rules read every row of the history; got a loop whose rows leave")
