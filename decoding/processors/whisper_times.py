"""Whisper's rule for time tokens: they come in pairs, never go back, and win where they outweigh every text token."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MARGIN = 1e-3
"""Of log-probabilities: float32 forms them, and the sum over the times, to about 1e-5 where they decide."""


class WhisperTimesStep:
    """The rule as a step of a loop.

    token_ids: [N, T] so far. times_begin: the id of 0.00; every id from here on is a time, and ``times_begin - 1`` is
    the token that says "no times". eos_token_id: ids below it are text. begin_index: how many tokens were given.
    latest_first: how many steps of time the first time may be from 0.00; None for any. weigh: whether times win where
    their summed probability is above that of every text token.
    Source: transformers 5.23 `WhisperTimeStampLogitsProcessor`, the same tokens masked; on the CPU most rows are
    decided by their largest logits, without its softmax over the vocabulary.
    """

    def __init__(
        self,
        token_ids: Tensor,
        *,
        times_begin: int,
        eos_token_id: int,
        begin_index: int,
        latest_first: int | None = None,
        weigh: bool = True,
    ) -> None:
        self.times_begin, self.eos_token_id, self.begin_index = times_begin, eos_token_id, begin_index
        self.latest_first, self.weigh = latest_first, weigh
        self.length = token_ids.shape[1]
        generated = token_ids[:, begin_index:]
        rows, count = generated.shape
        no, yes = (torch.full((rows,), value, device=token_ids.device) for value in (False, True))
        is_time = generated >= times_begin
        self.last = is_time[:, -1] if count else no
        self.before = is_time[:, -2] if count > 1 else yes
        # The last time of each row: -1 where there is none.
        place = torch.arange(1, count + 1, device=token_ids.device) * is_time
        ends = place.amax(1) if count else place.sum(1)
        last = generated.gather(1, (ends - 1).clamp_min(0)[:, None])[:, 0] if count else ends
        self.latest = torch.where(ends > 0, last - times_begin, -1)

    def apply(self, logits: Tensor) -> Tensor:
        """Set what may not follow to -inf in place: logits [N, V], returned."""
        logits[:, self.times_begin - 1] = -math.inf
        times = logits[:, self.times_begin :]
        closing = self.last & ~self.before  # a second time, or the end, closes the pair
        # The first time that is allowed: none right after a pair, else none before the latest.
        first = torch.where(self.last & self.before, times.shape[1], torch.where(closing, self.latest, self.latest + 1))
        times.masked_fill_(torch.arange(times.shape[1], device=logits.device) < first[:, None], -math.inf)
        logits[:, : self.eos_token_id].masked_fill_(closing[:, None], -math.inf)
        if self.length == self.begin_index:
            logits[:, : self.times_begin] = -math.inf
            if self.latest_first is not None:
                times[:, self.latest_first + 1 :] = -math.inf
        if self.weigh:
            text = logits[:, : self.times_begin]
            text.masked_fill_(self._times_win(logits)[:, None], -math.inf)
        return logits

    def _times_win(self, logits: Tensor) -> Tensor:
        """Whether the times of each row outweigh its likeliest text token, [N] bool."""
        if logits.device.type != "cpu":
            return self._by_probabilities(logits)
        text, times = logits[:, : self.times_begin], logits[:, self.times_begin :]
        if not times.shape[1]:
            return self._by_probabilities(logits)
        largest = times.amax(1).float()
        ahead = largest - text.amax(1).float()
        # The sum of n probabilities is at least the largest of them and at most n times that; +inf has none.
        wins, loses = (ahead > MARGIN) & (largest < math.inf), ahead < -math.log(times.shape[1]) - MARGIN
        rows = (~(wins | loses)).nonzero()[:, 0]  # NaN and what is -inf on both sides is neither
        if not len(rows):
            return wins
        ahead = times[rows].double().logsumexp(1) - text[rows].amax(1).double()
        if bool(((ahead.abs() > MARGIN) & (ahead < math.inf)).all()):
            wins[rows] = ahead > 0
            return wins
        return self._by_probabilities(logits)  # of all rows: torch's order of a sum depends on the shape

    def _by_probabilities(self, logits: Tensor) -> Tensor:
        """As transformers says it."""
        logprobs = logits.float().log_softmax(-1)
        times = logprobs[:, self.times_begin :].logsumexp(-1)
        return times > logprobs[:, : self.times_begin].amax(-1)

    def advance(self, token_ids: Tensor) -> None:
        """One more token in every row: token_ids [N]."""
        is_time = token_ids >= self.times_begin
        # Where nothing was generated the row counts as after a pair; from then on the last token moves up.
        self.before = self.last if self.length > self.begin_index else torch.ones_like(self.last)
        self.last = is_time
        self.latest = torch.where(is_time, token_ids - self.times_begin, self.latest)
        self.length += 1

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.last, self.before, self.latest = self.last[rows], self.before[rows], self.latest[rows]
