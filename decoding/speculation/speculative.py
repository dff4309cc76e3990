"""Speculative decoding of a batch: a drafter guesses tokens, the model reads them all at once, the right ones stay.

Words: draft tokens are the guesses; the accepted ones are the leading right guesses; the recovered token replaces the
first wrong one, the bonus token follows when none was wrong. The last token of a row is always pending: known, but not
yet read by the model. Source: Leviathan et al. 2023, arXiv:2211.17192. Axes: N rows alive, T drafts, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..search.progress import Recorder
from ..search.score_rules import ScoreRule
from ..search.step_model import VerifyingStepModel
from ..search.stopping import Stopping, hits_token, read_verdict

__all__ = ["Draft", "Drafter", "Draw", "accept_drawn", "accept_equal", "speculate"]


@dataclass(frozen=True)
class Draft:
    """Guesses: token_ids [N, T], the first ``counts[i]`` of row i count; probs [N, T, V] if they were drawn."""

    token_ids: Tensor
    counts: Tensor
    probs: Tensor | None = None


class Draw(Protocol):
    """Picks a token per row of ``logits`` [N, V]; ``step`` [B] counts each original row's, ``rows`` [N] are alive."""

    def __call__(self, logits: Tensor, *, step: Tensor, rows: Tensor) -> Tensor: ...


class Drafter(Protocol):
    """Guesses what follows ``token_ids`` [N, W], of which row i has ``lengths[i]``; at most ``limit`` guesses.

    guesses_first: whether it is asked before the model has read the prompt, so that the first round checks guesses too.
    """

    guesses_first: bool

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        """Guess at most ``limit`` tokens a row after token_ids [N, T], of which ``lengths`` [N] are each row's own."""

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""

    def finish(self, lengths: Tensor) -> None:
        """Hear how far the rows came in the last round."""
        ...


def accept_equal(chosen: Tensor, draft: Draft) -> tuple[Tensor, Tensor]:
    """New tokens [N, T + 1] and how many of them count, given the model's own choice at every position [N, T + 1].

    A guess is accepted while it is what the model chose; then the model's choice follows.
    >>> accept_equal(torch.tensor([[4, 5, 6]]), Draft(torch.tensor([[4, 7]]), torch.tensor([2])))
    (tensor([[4, 5, 6]]), tensor([2]))
    """
    right = (chosen[:, :-1] == draft.token_ids) & _counted(draft)
    return chosen, right.long().cumprod(dim=1).sum(dim=1) + 1


def accept_drawn(probs: Tensor, draft: Draft) -> tuple[Tensor, Tensor]:
    """New tokens [N, T + 1] and how many count, for guesses drawn from ``draft.probs``, by rejection.

    probs: [N, T + 1, V], the model's. A guess is accepted with probability p / q; the token after the accepted ones is
    drawn from the rest max(p - q, 0), or from p where nothing was rejected. What comes out is distributed as p.
    """
    if draft.probs is None:
        raise ValueError("draft.probs must be given to accept drawn tokens; got None")
    rows = torch.arange(probs.shape[0], device=probs.device)
    guess = draft.token_ids[:, :, None]
    p, q = probs[:, :-1].gather(2, guess)[:, :, 0], draft.probs.gather(2, guess)[:, :, 0]
    right = (torch.rand_like(p) <= p / q) & _counted(draft)
    accepted = right.long().cumprod(dim=1).sum(dim=1)
    target = probs[rows, accepted]
    if draft.token_ids.shape[1]:
        rejected = accepted < draft.counts
        drafted = draft.probs[rows, accepted.clamp(max=draft.token_ids.shape[1] - 1)]
        rest = (target - drafted).clamp(min=0)
        # Where p and q agree to the last bit nothing is left; a rejection then has probability 0 but for rounding.
        mass = rest.sum(dim=1, keepdim=True)
        target = torch.where(rejected[:, None] & (mass > 0), rest / mass, target)
    last = torch.multinomial(target, num_samples=1)
    new = torch.cat((draft.token_ids, last), dim=1)
    new[rows, accepted] = last[:, 0]
    return new, accepted + 1


def speculate(
    model: VerifyingStepModel,
    prompt_ids: Tensor,
    drafter: Drafter,
    stopping: Stopping,
    *,
    do_sample: bool = False,
    draw: Draw | None = None,
    lockstep: bool = False,
    rules: Sequence[ScoreRule] = (),
    pad_token_id: Tensor | None = None,
    recorder: Recorder | None = None,
    on_tokens: Callable[[Tensor], None] | None = None,
    compact: bool = True,
) -> Tensor:
    """Prompt and new tokens of every row, [B, T]: greedily those of plain greedy, drawn ones distributed alike.

    do_sample: draw, from torch's own stream. draw: picks the token of each position instead; where that depends on the
    row, the step and the logits alone, as with a seed per row, the tokens are those of plain decoding.
    lockstep: all rows advance by as many tokens as the slowest, so that they keep one length; needed for a model whose
    rows cannot differ, for ``rules`` that read the token ids, for criteria, a recorder or a listener. Otherwise rows
    advance on their own, ``rules`` get no ids, and with ``compact`` finished rows leave. pad_token_id: what follows a
    finished row; None stands for 0. on_tokens: called with the tokens [B] of one position after another.
    Every round reads a few device values: how wide the draft is, how far rows came, which are finished.
    """
    watched = any((stopping.criteria, recorder is not None, on_tokens is not None))
    if watched and not lockstep:
        raise ValueError("lockstep must be True with criteria, a recorder or a listener; got False")
    rows = _Rows(prompt_ids, stopping, pad_token_id, lockstep=lockstep)
    draft = Draft(prompt_ids[:, :0], torch.zeros_like(prompt_ids[:, 0]))
    if drafter.guesses_first:
        draft = drafter.draft(prompt_ids, rows.all_lengths.clone(), rows.room())
    logits = _read_prompt(model, draft)
    while True:
        raw = logits.clone() if recorder is not None else logits
        scores = _process(logits, rows, draft, rules)
        new, counts = _accept(scores, draft, do_sample, draw, rows)
        width = new.shape[1]
        counts = rows.extend(new, counts, raw, scores, recorder, on_tokens)
        getattr(draw, "finish", lambda: None)()  # of draws on a device, which has been read by now
        _drop_rejected(model, width, width - counts, rows.rounds == 1)
        alive = ~rows.finished
        num_alive = int(alive.sum())
        if num_alive == 0 or stopping.everywhere(rows.shortest()):
            drafter.finish(rows.known()[1])
            return rows.output()
        if compact and not lockstep and num_alive < alive.shape[0]:
            _select_rows(alive.nonzero().squeeze(1), model, drafter, rows)
        token_ids, lengths = rows.known()
        draft = drafter.draft(token_ids, lengths, rows.room())
        logits = model.verify(torch.cat((rows.pending()[:, None], draft.token_ids), dim=1))


def _read_prompt(model: VerifyingStepModel, draft: Draft) -> Tensor:
    """The logits after the prompt and after each guess that follows it, [N, T + 1, V]."""
    logits = model.prefill()[:, None]
    return torch.cat((logits, model.verify(draft.token_ids)), dim=1) if draft.token_ids.shape[1] else logits


def _drop_rejected(model: VerifyingStepModel, width: int, drop: Tensor, is_first: bool) -> None:
    """Take back the last ``drop`` of the ``width`` tokens the model has read: the pending one and the guesses."""
    if is_first:
        drop = drop.clamp(max=width - 1)  # no token was pending: the prompt itself stays
    if not is_first or width > 1:
        model.rewind(drop)


def _select_rows(keep: Tensor, *holders: "VerifyingStepModel | Drafter | _Rows") -> None:
    for each in holders:
        each.select_rows(keep)


def _accept(scores: Tensor, draft: Draft, do_sample: bool, draw: Draw | None, rows: "_Rows") -> tuple[Tensor, Tensor]:
    """Which drafted tokens stand and the token after them, from the target's scores [N, T + 1, V] at every place.

    Greedy and ``draw`` compare tokens; sampling accepts by the ratio of the two distributions where the draft has one.
    """
    if draw is not None:
        step = rows.all_lengths - rows.prompt_length
        chosen = [draw(scores[:, place], step=step + place, rows=rows.alive) for place in range(scores.shape[1])]
        return accept_equal(torch.stack(chosen, dim=1), draft)
    if not do_sample:
        return accept_equal(first_argmax(scores), draft)
    probs = torch.softmax(scores, dim=-1)
    if draft.probs is not None:
        return accept_drawn(probs, draft)
    return accept_equal(torch.multinomial(probs.flatten(0, 1), num_samples=1).view(probs.shape[:2]), draft)


def _process(logits: Tensor, rows: "_Rows", draft: Draft, rules: Sequence[ScoreRule]) -> Tensor:
    """``logits`` [N, T + 1, V] after ``rules``, each position given the tokens before it, draft tokens included."""
    if not rules:
        return logits
    if not rows.lockstep:
        flat = logits.flatten(0, 1)
        for rule in rules:
            flat = rule(flat.new_empty((flat.shape[0], 0), dtype=torch.long), flat)
        return flat.view(logits.shape)
    ids, _ = rows.known()
    positions = []
    for position in range(logits.shape[1]):
        scores = logits[:, position]
        before = torch.cat((ids, draft.token_ids[:, :position]), dim=1)
        for rule in rules:
            scores = rule(before, scores)
        positions.append(scores)
    return torch.stack(positions, dim=1)


def _counted(draft: Draft) -> Tensor:
    return torch.arange(draft.token_ids.shape[1], device=draft.counts.device) < draft.counts[:, None]


class _Rows:
    """The tokens of every row [B, W] and how many of them are known; ``alive`` maps the N rows in the model to them."""

    def __init__(self, prompt_ids: Tensor, stopping: Stopping, pad_token_id: Tensor | None, *, lockstep: bool):
        batch_size, length = prompt_ids.shape
        self.prompt_length = length
        self.stopping, self.lockstep, self.rounds = stopping, lockstep, 0
        self.pad = 0 if pad_token_id is None else int(pad_token_id)
        self.ids = torch.full((batch_size, 2 * length + 64), self.pad, dtype=torch.long, device=prompt_ids.device)
        self.ids[:, :length] = prompt_ids
        self.all_lengths = torch.full((batch_size,), length, device=prompt_ids.device)
        self.alive = torch.arange(batch_size, device=prompt_ids.device)
        self.finished = torch.zeros(batch_size, dtype=torch.bool, device=prompt_ids.device)  # of the rows alive
        limit = stopping.max_length
        self.limits = torch.full_like(self.all_lengths, 2**62 if limit is None else limit)
        if stopping.row_max_length is not None:
            self.limits = torch.minimum(self.limits, stopping.row_max_length.to(self.limits))
        self.longest = length

    def known(self) -> tuple[Tensor, Tensor]:
        """Token ids [N, W] of the rows alive and how many of each are known."""
        return self.ids[self.alive, : self.longest], self.all_lengths[self.alive]

    def pending(self) -> Tensor:
        """The last token of each row alive, [N]."""
        return self.ids[self.alive, self.all_lengths[self.alive] - 1]

    def room(self) -> int:
        """How many guesses can be of use: one token always comes from the model itself."""
        return max(int((self.limits - self.all_lengths)[self.alive].max()) - 1, 0)

    def shortest(self) -> int:
        """The length of the shortest row that is not finished."""
        lengths = self.all_lengths[self.alive][~self.finished]
        return int(lengths.min()) if lengths.numel() else self.longest

    def select_rows(self, keep: Tensor) -> None:
        self.alive = self.alive[keep]
        self.finished = self.finished[keep]

    def output(self) -> Tensor:
        return self.ids[:, : int(self.all_lengths.max())].clone()

    def extend(
        self,
        new: Tensor,
        counts: Tensor,
        raw: Tensor,
        scores: Tensor,
        recorder: Recorder | None,
        on_tokens: Callable[[Tensor], None] | None,
    ) -> Tensor:
        """Take up to ``counts`` of the ``new`` tokens [N, T + 1]; return how many of them count for the model."""
        self.rounds += 1
        place = torch.arange(new.shape[1], device=new.device)
        lengths = self.all_lengths[self.alive]
        ends = self._ends(new, lengths)
        first_end = torch.where(ends, place, new.shape[1]).amin(dim=1)
        if self.lockstep:
            return self._extend_together(new, counts, first_end, raw, scores, recorder, on_tokens)
        counts = torch.minimum(counts, first_end + 1)
        ends_here = (first_end < counts) & ~self.finished
        counts = torch.where(self.finished, 0, counts)
        self._reserve(int((lengths + counts).max()))
        taken = place < counts[:, None]
        where = (lengths[:, None] + place).clamp(max=self.ids.shape[1] - 1)
        rows = self.alive[:, None].expand_as(where)
        self.ids[rows[taken], where[taken]] = new[taken]
        self.all_lengths[self.alive] = lengths + counts
        self.finished = self.finished | ends_here
        return torch.where(self.finished, 0, counts)

    def _ends(self, new: Tensor, lengths: Tensor) -> Tensor:
        """At which of the new tokens a row would end, by its length or an EOS; [N, T + 1]."""
        place = torch.arange(new.shape[1], device=new.device)
        ends = lengths[:, None] + place + 1 >= self.limits[self.alive, None]
        if self.stopping.eos_token_id is not None:
            ends = ends | hits_token(new, self.stopping.eos_token_id)
        if self.stopping.row_eos_token_id is not None:
            own = self.stopping.row_eos_token_id[self.alive]
            ends = ends | (new[:, :, None] == own[:, None, :]).any(dim=2)
        return ends

    def _extend_together(
        self,
        new: Tensor,
        counts: Tensor,
        first_end: Tensor,
        raw: Tensor,
        scores: Tensor,
        recorder: Recorder | None,
        on_tokens: Callable[[Tensor], None] | None,
    ) -> Tensor:
        """As ``extend`` with one count for all rows; a row that ends is padded as far as the others come."""
        width = new.shape[1]
        ends_here = (first_end < counts) & ~self.finished
        reach = torch.where(self.finished | ends_here, width, counts)
        # Where every row ends, the last of them says how far the batch goes.
        all_end = (self.finished | ends_here).all()
        last = torch.where(ends_here, first_end + 1, 0).amax()
        together = int(torch.where(all_end, last, reach.amin()))
        length = self.longest
        self._reserve(length + together)
        for position in range(together):
            if recorder is not None:
                recorder.logits(raw[:, position])
                recorder.step(scores[:, position])
            column = torch.where(self.finished, self.pad, new[:, position])
            self.ids[:, length + position] = column
            self.longest = length + position + 1
            self.finished = self.finished | (ends_here & (first_end == position))
            if on_tokens is not None:
                on_tokens(column)
            for criterion in self.stopping.criteria:
                done = criterion(self.ids[:, : self.longest].contiguous(), getattr(recorder, "scores", None))
                self.finished = self.finished | read_verdict(done, self.finished)
            if self.stopping.criteria and bool(self.finished.all()):
                break
        self.all_lengths[:] = self.longest
        return torch.full_like(counts, self.longest - length)

    def _reserve(self, longest: int) -> None:
        """Make room for rows of this length."""
        self.longest = max(self.longest, longest) if not self.lockstep else self.longest
        if longest > self.ids.shape[1]:
            more = self.ids.new_full((self.ids.shape[0], longest), self.pad)
            self.ids = torch.cat((self.ids, more), dim=1)
