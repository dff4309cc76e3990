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
from ..kernels.torch_stream import drawn
from ..options.numpy_or_torch import sent
from ..search.progress import Recorder
from ..search.score_rules import ScoreRule
from ..search.step_model import VerifyingStepModel
from ..search.stopping import Stopping
from ..triton_kernels.accept import MOST, accept, accept_twin
from ..triton_kernels.draw import may_run
from .row_books import Ints, RowBooks, hear

__all__ = ["Draft", "Drafter", "Draw", "accept_drawn", "accept_equal", "speculate"]


@dataclass(frozen=True)
class Draft:
    """Guesses: token_ids [N, T], the first ``counts[i]`` of row i count; probs [N, T, V] if they were drawn.

    chances: how probable each guess was [N, T], for a drafter that learns from it. Tensors of the host or the device.
    """

    token_ids: Tensor
    counts: Tensor
    probs: Tensor | None = None
    chances: Tensor | None = None


class Draw(Protocol):
    """Picks a token per row of ``logits`` [N, V]; ``step`` [B] counts each original row's, ``rows`` [N] are alive."""

    def __call__(self, logits: Tensor, *, step: Tensor, rows: Tensor) -> Tensor: ...


class Drafter(Protocol):
    """Guesses what follows ``token_ids`` [N, W], of which row i has ``lengths[i]``; at most ``limit`` guesses.

    What it is told is on the host, what it gives may be on either side. guesses_first: whether it is asked before the
    model has read the prompt, so that the first round checks guesses too.
    """

    guesses_first: bool

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        """Guess at most ``limit`` tokens a row after token_ids [N, T], of which ``lengths`` [N] are each row's own."""

    def hear(self, counts: Tensor, chances: Tensor | None) -> None:
        """Those of its last draft, on the host: they came with what the host reads of the round."""

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
    drafts, counts = draft.token_ids, draft.counts
    by_kernel = drafts.shape[1] <= MOST and may_run(chosen.device)
    return chosen, (accept if by_kernel else accept_twin)(chosen, drafts, counts)


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
    last = drawn(target)[:, None]
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
    A round reads one small tensor of the device, on which ``on_tokens`` and the drafter are told as well; a criterion
    that answers on the device is waited for, too.
    """
    watched = any((stopping.criteria, recorder is not None, on_tokens is not None))
    if watched and not lockstep:
        raise ValueError("lockstep must be True with criteria, a recorder or a listener; got False")
    rows = RowBooks(prompt_ids, stopping, pad_token_id, lockstep=lockstep)
    draft = Draft(prompt_ids[:, :0], torch.zeros_like(prompt_ids[:, 0]))
    if drafter.guesses_first:
        draft, _ = _sent(drafter.draft(*rows.known(), rows.room()), None, rows.device)
    logits = _read_prompt(model, draft)
    while True:
        raw = logits.clone() if recorder is not None else logits
        scores = _process(logits, rows, draft, rules)
        new, counts = _accept(scores, draft, do_sample, draw, rows)
        of_draft = (draft.counts,) if draft.chances is None else (draft.counts, draft.chances)
        new, counts, guessed, *chances = hear(new, counts, *of_draft)
        drafter.hear(guessed, chances[0] if chances else None)
        width = new.shape[1]
        kept = rows.extend(new, counts, raw, scores, recorder, on_tokens)
        getattr(draw, "finish", lambda: None)()  # of draws on a device, which has been read by now
        _drop_rejected(model, width, width - kept, rows.rounds == 1)
        if rows.over():
            drafter.finish(rows.known()[1])
            return rows.output()
        if compact and not lockstep and (keep := rows.leave()) is not None:
            model.select_rows(keep)
            drafter.select_rows(keep)
        draft, token_ids = _sent(drafter.draft(*rows.known(), rows.room()), rows.pending(), rows.device)
        logits = model.verify(token_ids)


def _sent(draft: Draft, pending: Tensor | None, device: torch.device) -> tuple[Draft, Tensor]:
    """The draft on the device, and what the model is to read: the ``pending`` tokens [N, 1], if any, and the guesses.

    Guesses of the host go there with their counts and the pending tokens in one copy.
    """
    guesses, counts = draft.token_ids, draft.counts
    if pending is None:
        pending = torch.empty((len(counts), 0), dtype=torch.int64, device="cpu")
    if guesses.device.type == "cpu":
        packed = sent(torch.cat((pending, guesses, counts[:, None]), dim=1), device)
        token_ids, counts = packed[:, :-1], packed[:, -1]
        return Draft(token_ids[:, pending.shape[1] :], counts, draft.probs, draft.chances), token_ids
    return draft, torch.cat((sent(pending, device), guesses), dim=1)


def _read_prompt(model: VerifyingStepModel, draft: Draft) -> Tensor:
    """The logits after the prompt and after each guess that follows it, [N, T + 1, V]."""
    logits = model.prefill()[:, None]
    return torch.cat((logits, model.verify(draft.token_ids)), dim=1) if draft.token_ids.shape[1] else logits


def _drop_rejected(model: VerifyingStepModel, width: int, drop: Ints, is_first: bool) -> None:
    """Take back the last ``drop`` of the ``width`` tokens the model has read: the pending one and the guesses."""
    if is_first:
        drop = drop.clip(max=width - 1)  # no token was pending: the prompt itself stays
    if not is_first or width > 1:
        model.rewind(torch.from_numpy(drop))


def _accept(scores: Tensor, draft: Draft, do_sample: bool, draw: Draw | None, rows: RowBooks) -> tuple[Tensor, Tensor]:
    """Which drafted tokens stand and the token after them, from the target's scores [N, T + 1, V] at every place.

    Greedy and ``draw`` compare tokens; sampling accepts by the ratio of the two distributions where the draft has one.
    """
    if draw is not None:
        return accept_equal(_drawn_places(draw, scores, rows), draft)
    if not do_sample:
        return accept_equal(first_argmax(scores), draft)
    probs = torch.softmax(scores, dim=-1)
    if draft.probs is not None:
        return accept_drawn(probs, draft)
    return accept_equal(drawn(probs.flatten(0, 1)).view(probs.shape[:2]), draft)


def _drawn_places(draw: Draw, scores: Tensor, rows: RowBooks) -> Tensor:
    """A token for each of the places [N, T + 1] of scores: at once, where ``draw`` knows how and none needs another."""
    step, at_once = rows.steps(), getattr(draw, "select_places", None)
    found: Tensor | None = None
    if at_once is not None and scores.shape[1] > 1:
        found = at_once(scores, step=step, rows=rows.rows_there)
    if found is None:
        places = range(scores.shape[1])
        chosen = [draw(scores[:, place], step=step + place, rows=rows.rows_there) for place in places]
        found = torch.stack(chosen, dim=1)
    return found


def _process(logits: Tensor, rows: RowBooks, draft: Draft, rules: Sequence[ScoreRule]) -> Tensor:
    """``logits`` [N, T + 1, V] after ``rules``, each position given the tokens before it, draft tokens included."""
    if not rules:
        return logits
    if rows.there is None:
        flat = logits.flatten(0, 1)
        for rule in rules:
            flat = rule(flat.new_empty((flat.shape[0], 0), dtype=torch.long), flat)
        return flat.view(logits.shape)
    ids, positions = rows.there.ids, []
    for position in range(logits.shape[1]):
        scores = logits[:, position]
        before = torch.cat((ids, draft.token_ids[:, :position]), dim=1)
        for rule in rules:
            scores = rule(before, scores)
        positions.append(scores)
    return torch.stack(positions, dim=1)


def _counted(draft: Draft) -> Tensor:
    return torch.arange(draft.token_ids.shape[1], device=draft.counts.device) < draft.counts[:, None]
