"""One row of a running batch: its tokens so far, and whether the newest is its last."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..grammar.grammar_step import GrammarRows
from ..grammar.greedy_grammar import GreedyGrammar, Outlook
from .history import History
from .jump_ahead import MOST_TOKENS, Certain
from .row_requests import FinishedRow, RowRequest, RowStage
from .stopping import read_verdict

__all__ = ["RunningRow"]


class RunningRow:
    """The state of ``request`` while it runs. number: its place in the choice that was compiled for it last.

    fed: what the model has not read yet, the newest tokens.
    """

    def __init__(self, request: RowRequest) -> None:
        self.request = request
        self.number = 0
        self.fed: list[int] = []
        self.new_length = 0
        self.reason = ""
        self._new: list[int] = []
        self._ends = frozenset(request.eos_token_ids)
        self._limit = request.max_new_tokens
        self._deadline = None if request.max_time is None else time.monotonic() + request.max_time
        self._history: History | None = None
        self.stages: Sequence[RowStage] = ()
        self.rule: GrammarRows[Any] | None = None  # the last stage's grammar
        self.grammar: GreedyGrammar | None = None  # the same, where it chooses the token itself
        if request.stages is not None or request.criteria:
            self._history = History(request.token_ids[None].long())
            self.stages = () if request.stages is None else request.stages(self._history)
            rule = getattr(self.stages[-1], "rule", None) if self.stages else None
            self.rule = rule if isinstance(rule, GrammarRows) else None
            self.grammar = rule if isinstance(rule, GreedyGrammar) else None
        self._ahead: Certain | None = None

    @property
    def outlook(self) -> Outlook | None:
        """What the row's grammar says of its next token, where it chooses."""
        return None if self.grammar is None else self.grammar.outlooks()[0]

    def processed(self, logits: Tensor) -> Tensor:
        """The row's logits [1, V] after its stages."""
        for stage in self.stages:
            logits = stage.apply(logits)
        return logits

    def append(self, token: int, now: float, *, jumps: bool = False) -> bool:
        """Take the row's new token and, where the model reads several at once (``jumps``), those that certainly follow;
        whether the last of them is the row's last."""
        if jumps and self._ahead is None and self.request.ahead is not None:
            self._ahead = self.request.ahead(self.stages)
        self.fed = []
        ended = self._take(token, now)
        while jumps and not ended and self._ahead is not None and len(self.fed) < MOST_TOKENS:
            following = self._ahead.certain()
            if following is None or following[0] is None:
                break
            ended = self._take(following[0], now)
        return ended

    def _take(self, token: int, now: float) -> bool:
        """Take one token, tell the row's stages and its listener; whether it is the last."""
        self.fed.append(token)
        self.new_length += 1
        self._new.append(token)
        if self._history is not None:
            tokens = torch.tensor([token], device=self.request.token_ids.device)
            self._history.append(tokens)
            for stage in self.stages:
                stage.advance(tokens)
        self.reason = self._why(token, now)
        if self.request.on_token is not None:
            self.request.on_token(token, self.reason)
        return bool(self.reason)

    def finish(self, reason: str | None = None, error: Exception | None = None) -> FinishedRow:
        """What the row leaves behind."""
        new = torch.tensor(self._new, dtype=torch.int64, device="cpu")
        token_ids = torch.cat((self.request.token_ids.cpu().long(), new))
        return FinishedRow(self.request, token_ids, self.reason if reason is None else reason, error)

    def _why(self, token: int, now: float) -> str:
        """Why the row ends with ``token``; empty where it goes on."""
        if token in self._ends:
            return "eos"
        if self.request.criteria and self._is_stopped():
            return "stop"
        if self._limit is not None and self.new_length >= self._limit:
            return "length"
        return "time" if self._deadline is not None and now > self._deadline else ""

    def _is_stopped(self) -> bool:
        assert self._history is not None
        ids = self._history.ids.contiguous()
        here = torch.zeros(1, dtype=torch.bool, device="cpu")
        return any(bool(read_verdict(criterion(ids, None), here)) for criterion in self.request.criteria)
