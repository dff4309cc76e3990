"""DRY: a penalty that grows with the length of the repetition the next token would continue."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..options.per_row import row_count, row_option, select_option
from ..options.token_ids import check_token_ids, token_id, token_list
from ..options.validation import NON_NEGATIVE, RowOption, check_logits

Breakers = Sequence[int | Sequence[int]]

# log of the largest float32: the exponent is clamped so that the penalty stays finite, as llama.cpp does.
_LOG_FLOAT_MAX = 88.7228391
_HEAD = 1 << 20  # breaker heads and tails packed in one integer, ordered by head


def apply_dry(
    logits: Tensor,
    token_ids: Tensor,
    multiplier: RowOption,
    *,
    base: RowOption = 1.75,
    allowed_length: RowOption = 2,
    penalty_last_n: RowOption | None = None,
    sequence_breakers: Breakers = (),
) -> Tensor:
    """Subtract ``multiplier * base ** (n - allowed_length)`` from tokens that would extend a repetition of n tokens.

    A repetition is a stretch of the history that equals its end: after "a b c ... a b", token c extends one of n = 2.
    Where a token extends several, the longest counts; repetitions may overlap their copy.
    logits: [B, V]. token_ids: [B, T]. multiplier: >= 0, float or [B]; 0.0 is off. base: >= 1. allowed_length: int or
    [B], repetitions shorter than it are free. penalty_last_n: int or [B], only so many last tokens are looked at; None
    looks at all, 0 is off. sequence_breakers: token ids, or sequences of them, that a repetition may not reach across;
    a single-token breaker is never penalised itself. Ids of V and above are matched but never penalised.
    Returns [B, V]. Arithmetic: the power in float64, the penalty rounded to float32, as llama.cpp computes it.
    Cost: one comparison of [B, T] per token of the longest repetition; as a step, see `DryStep`.
    Source: llama.cpp `llama_sampler_init_dry` (src/llama-sampler.cpp), after p-e-w's proposal,
    oobabooga/text-generation-webui#5677.
    >>> apply_dry(torch.zeros(1, 4), torch.tensor([[1, 2, 3, 1, 2]]), 1.0, base=2.0)
    tensor([[ 0.,  0.,  0., -1.]])
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    step = DryStep(
        token_ids,
        multiplier,
        base=base,
        allowed_length=allowed_length,
        penalty_last_n=penalty_last_n,
        sequence_breakers=sequence_breakers,
    )
    return step.apply(logits.clone())


class DryStep:
    """`apply_dry` as a step of a loop.

    For every position it keeps the length of the stretch ending there that equals the end of the history. One more
    token lengthens a stretch by one or ends it, so that a step is one comparison of the new token with W tokens of each
    row, 4 bytes each, and some work for the positions where it occurs. W is the history, or the largest
    ``penalty_last_n``, in which case the cost of a step stops growing there.
    """

    def __init__(
        self,
        token_ids: Tensor,
        multiplier: RowOption,
        *,
        base: RowOption = 1.75,
        allowed_length: RowOption = 2,
        penalty_last_n: RowOption | None = None,
        sequence_breakers: Breakers = (),
    ) -> None:
        check_token_ids(token_ids)
        rows, device = token_ids.shape[0], token_ids.device
        self.multiplier = row_option("multiplier", multiplier, rows, NON_NEGATIVE, device)
        self.base = row_option("base", base, rows, ("a finite number >= 1", lambda b: (b >= 1) & b.isfinite()), device)
        self.allowed_length = row_count("allowed_length", allowed_length, rows).to(device)
        self.last_n: Tensor | None = None
        self._window: int | None = None
        if penalty_last_n is not None:
            self.last_n = row_count("penalty_last_n", penalty_last_n, rows)
            self._window = max(int(self.last_n.max()), 1) if self.last_n.numel() else 1
            self.last_n = self.last_n.to(device)
        self.breakers = _BreakerTable(sequence_breakers, device)
        self.length = token_ids.shape[1]
        self.last_breaker = self.breakers.last_in(token_ids)
        # Only the window is kept, with room in which it slides.
        kept = token_ids if self._window is None else token_ids[:, max(self.length - self._window, 0) :]
        self._stop = kept.shape[1]
        self._start = 0
        self._ids = kept.to(torch.int32, copy=True)
        self._lengths = _suffix_matches(self._ids)
        self._on_cpu = device.type == "cpu"
        self._every_position = bool((self.allowed_length == 0).any())
        self._matches = self._lengths.nonzero(as_tuple=True) if self._on_cpu else None

    def apply(self, logits: Tensor) -> Tensor:
        """Subtract the penalties in place."""
        ids, lengths = self._ids[:, self._start : self._stop], self._lengths[:, self._start : self._stop]
        if ids.shape[1] < 2:
            return logits
        if self._on_cpu and logits.device.type == "cpu" and logits.is_contiguous():
            rows, places = self._candidates()
            extends = self._repetitions(lengths[rows, places].long(), places, rows)
            tokens = ids[rows, places + 1].long()
            penalised = self._penalised(extends, tokens, rows, logits.shape[1])
            rows, tokens, extends = rows[penalised], tokens[penalised], extends[penalised]
            lowered = self._lower(logits[rows, tokens], extends, rows)
            logits.view(-1).scatter_reduce_(0, rows * logits.shape[1] + tokens, lowered, "amin")
            return logits
        places = torch.arange(ids.shape[1] - 1, device=ids.device)
        extends, tokens = self._repetitions(lengths[:, :-1].long(), places, None), ids[:, 1:].long()
        penalised = self._penalised(extends, tokens, None, logits.shape[1])
        # The smaller of a logit and its penalised values; +inf leaves it as it is.
        columns = tokens.clamp(max=logits.shape[1] - 1)
        lowered = self._lower(logits.gather(1, columns), extends, None)
        return logits.scatter_reduce_(1, columns, torch.where(penalised, lowered, math.inf), "amin")

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N]: stretches that it continues grow by one, all others end.

        Cost: one comparison of the window; on the CPU only the places of the token are written.
        """
        self._make_room()
        start, stop = self._start, self._stop
        token = token_ids.reshape(-1, 1).to(self._ids.dtype)
        same = self._ids[:, start:stop] == token
        # A stretch ending one position earlier grows by this token, or the stretch is over.
        if self._matches is not None:
            rows, places = same.nonzero(as_tuple=True)
            places = places + start
            longer = torch.where(places > 0, self._lengths[rows, places - 1], 0) + 1
            self._lengths[self._matches] = 0
            self._lengths[rows, places] = longer
            self._matches = rows, places
        elif stop > start:
            self._lengths[:, start + 1 : stop] = (self._lengths[:, start : stop - 1] + 1) * same[:, 1:]
            self._lengths[:, start] = same[:, 0].to(self._lengths.dtype)
        self._ids[:, stop : stop + 1] = token
        self._lengths[:, stop] = 0
        self._stop += 1
        self.length += 1
        if self._window is not None:
            self._start = max(self._start, self._stop - self._window)
        recent = self._ids[:, max(self._start, self._stop - self.breakers.longest) : self._stop]
        self.last_breaker = torch.maximum(self.last_breaker, self.breakers.ending(recent, self.length))

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self._ids = self._ids[:, self._start : self._stop][rows]
        self._lengths = self._lengths[:, self._start : self._stop][rows]
        self._start, self._stop = 0, self._ids.shape[1]
        self._matches = self._lengths.nonzero(as_tuple=True) if self._on_cpu else None
        self.last_breaker = self.last_breaker[rows]
        self.multiplier = select_option(self.multiplier, rows)
        self.base = select_option(self.base, rows)
        self.allowed_length = select_option(self.allowed_length, rows)
        if self.last_n is not None:
            self.last_n = select_option(self.last_n, rows)

    def _candidates(self) -> tuple[Tensor, Tensor]:
        """Rows and places in the window [F] after which a token may be penalised: few, unless a row allows nothing."""
        width = self._stop - self._start
        if self._matches is None or self._every_position:
            places = torch.arange(width - 1, device="cpu").repeat(self._ids.shape[0])
            return torch.arange(self._ids.shape[0], device="cpu").repeat_interleave(width - 1), places
        rows, places = self._matches
        inside = places >= self._start
        return rows[inside], places[inside] - self._start

    def _repetitions(self, lengths: Tensor, places: Tensor, rows: Tensor | None) -> Tensor:
        """The repetition that the token after each place would extend, -1 where none may count.

        lengths: of the stretches ending at `places`, flat with the row of each, or [N, W - 1] with `rows` None.
        """
        if self.last_n is None:  # filled in on the device: a tensor made from a number there waits for the copy
            window = torch.full((), self.length, device=lengths.device)
        else:
            window = self.last_n.clamp(max=self.length)
        # A breaker may not be reached across: what follows the last one limits every match.
        head, tail = self.last_breaker // _HEAD, self.last_breaker % _HEAD
        back = self.length - 1 - head
        limit = torch.where((self.last_breaker >= 0) & (back < window), back - tail, window)
        off = (limit < self.allowed_length) | (window <= self.allowed_length)
        window, limit, off = (_of_row(one, rows) for one in (window, limit, off))
        # ... nor may a match reach back past the window.
        inside = places + 1 - (self._stop - self._start - window)
        extends = torch.minimum(torch.minimum(lengths, inside), limit)
        return extends.masked_fill_((inside < 1) | off, -1)

    def _penalised(self, extends: Tensor, tokens: Tensor, rows: Tensor | None, vocab_size: int) -> Tensor:
        long_enough = (extends >= _of_row(self.allowed_length, rows)) & (_of_row(self.multiplier, rows) > 0)
        return long_enough & (tokens < vocab_size) & ~self.breakers.is_single(tokens)

    def _lower(self, values: Tensor, extends: Tensor, rows: Tensor | None) -> Tensor:
        """The logits less their penalties; all [N, W - 1], or flat with the row of each."""
        base, multiplier = _of_row(self.base.float(), rows), _of_row(self.multiplier.float(), rows)
        exponent = (extends - _of_row(self.allowed_length, rows)).clamp_(min=0)
        # llama.cpp's ceiling: the power stays below the largest float32, where the base is not 1.
        most = torch.where(base > 1.000001, _LOG_FLOAT_MAX / base.log(), 0.0).to(torch.int64)
        exponent = torch.where(most > 0, torch.minimum(exponent, most), exponent)
        # In double as C's pow is, then rounded to float32 once.
        penalty = (multiplier.double() * base.double() ** exponent).float()
        return (values.to(torch.promote_types(values.dtype, torch.float32)) - penalty).to(values.dtype)

    def _make_room(self) -> None:
        """Where the buffer is full, copy its window into one half as wide again; every step but a few costs nothing."""
        if self._stop < self._ids.shape[1]:
            return
        kept = slice(self._start, self._stop)
        width = self._stop - self._start
        room = (self._ids.shape[0], width + width // 2 + 64)
        ids, lengths = self._ids.new_empty(room), self._lengths.new_empty(room)
        ids[:, :width], lengths[:, :width] = self._ids[:, kept], self._lengths[:, kept]
        if self._matches is not None:
            rows, places = self._matches
            inside = places >= self._start
            self._matches = rows[inside], places[inside] - self._start
        self._ids, self._lengths, self._start, self._stop = ids, lengths, 0, width


def _of_row(option: Tensor, rows: Tensor | None) -> Tensor:
    """An option [] or [N] for the row of each flat entry, or as a column."""
    if rows is None:
        return option.reshape(-1, 1)
    return option[rows] if option.dim() else option


_PAIRS = 1 << 22  # of a token and a breaker that a device compares at once


class _BreakerTable:
    """Sequence breakers by length. A position packs the first token of the breaker and how many follow it."""

    def __init__(self, breakers: Breakers, device: torch.device) -> None:
        name = "sequence_breakers"
        lists = [token_list(b, name) for b in token_list(breakers, name)]
        sequences = sorted({tuple(token_id(token, name) for token in each) for each in lists}, key=len)
        if any(len(sequence) == 0 for sequence in sequences):
            raise ValueError("sequence_breakers must be token ids or sequences of at least one; got an empty sequence")
        self.longest = len(sequences[-1]) if sequences else 0
        self.by_length = {
            length: torch.tensor([s for s in sequences if len(s) == length], device=device)
            for length in sorted({len(s) for s in sequences})
        }

    def is_single(self, tokens: Tensor) -> Tensor:
        singles = self.by_length.get(1)
        if singles is None:
            return torch.zeros_like(tokens, dtype=torch.bool)
        if tokens.device.type == "cpu" or tokens.numel() * singles.numel() > _PAIRS:
            return torch.isin(tokens, singles)
        return (tokens[..., None] == singles).any(dim=-1)  # a device's isin waits where singles are many

    def ending(self, recent: Tensor, length: int) -> Tensor:
        """The packed position of the longest breaker that the last token completes, -1 without one: [N]."""
        found = torch.full((recent.shape[0],), -1, dtype=torch.int64, device=recent.device)
        for size, table in self.by_length.items():
            if size <= recent.shape[1]:
                last = recent[:, recent.shape[1] - size :]
                complete = (last[:, None, :] == table).all(dim=2).any(dim=1)
                # The later the first token, the more it counts: a short breaker inside a long one wins.
                found = torch.where(complete, found.clamp(min=(length - size) * _HEAD + size - 1), found)
        return found

    def last_in(self, token_ids: Tensor) -> Tensor:
        """The packed position of the breaker whose first token comes last, the longest of those: [N]."""
        found = torch.full((token_ids.shape[0],), -1, dtype=torch.int64, device=token_ids.device)
        for size, table in self.by_length.items():
            if size > token_ids.shape[1]:
                continue
            windows = token_ids.unfold(1, size, 1)
            present = torch.stack([(windows == sequence).all(dim=2) for sequence in table]).any(dim=0)
            packed = torch.arange(windows.shape[1], device=token_ids.device) * _HEAD + size - 1
            found = torch.maximum(found, torch.where(present, packed, -1).amax(dim=1))
        return found


def _suffix_matches(token_ids: Tensor) -> Tensor:
    """[N, T] int32: how many tokens ending at each position equal the end of the row; 0 for the last position."""
    length = token_ids.shape[1]
    matches = torch.zeros_like(token_ids, dtype=torch.int32)
    going = torch.ones((token_ids.shape[0], max(length - 1, 0)), dtype=torch.bool, device=token_ids.device)
    for back in range(length - 1):
        same = token_ids[:, : length - 1 - back] == token_ids[:, length - 1 - back, None]
        going = going[:, back:] & same if back == 0 else going[:, 1:] & same
        if not bool(going.any()):
            break
        matches[:, back : length - 1] += going
    return matches
