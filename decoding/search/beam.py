"""Beam search and beam sampling, with transformers' arithmetic and none of its copies.

Beams: K per item of the batch, B items. A running beam is a score and a pair of pointers per step, (parent beam,
token); a hypothesis in the pool of finished ones is a score and the step, parent and token at which it ended. Sequences
are written out once, at the end. The cache moves only when beams change places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.counter_noise import counter_keys
from .beam_candidates import Candidates, top_candidates
from .beam_draws import sampled_candidates, seeded_candidates
from .decode_loop import Process, Recorder
from .step_model import StepModel
from .stopping import Stopping

__all__ = ["Beams", "beam_search"]

# What transformers subtracts from a candidate that may not be chosen. It is added in float32, where it swallows the
# score itself (the spacing at 1e9 is 64); ties between such candidates are part of the behaviour that is matched.
OUT = -1.0e9


@dataclass(frozen=True)
class Beams:
    """Hypotheses of every item, best first: token_ids [B * R, T], scores [B * R], beam_indices [B * R, T - P] int32.

    ``beam_indices`` says which of the B * K beams each token continued, -1 past a hypothesis' end.
    """

    token_ids: Tensor
    scores: Tensor
    beam_indices: Tensor


@dataclass
class _Pool:
    """The K best ended hypotheses of each item, all [B, K]; ``step`` -1 marks one that never existed."""

    scores: Tensor
    is_finished: Tensor
    step: Tensor
    parent: Tensor
    token: Tensor

    @classmethod
    def empty(cls, batch_size: int, num_beams: int, device: torch.device) -> "_Pool":
        shape = (batch_size, num_beams)
        none = torch.full(shape, -1, dtype=torch.long, device=device)
        scores = torch.full(shape, OUT, dtype=torch.float32, device=device)
        return cls(scores, torch.zeros(shape, dtype=torch.bool, device=device), none, none, none)

    def merge(self, scores: Tensor, is_finished: Tensor, step: int, parent: Tensor, token: Tensor) -> None:
        """Keep the K best of the pool and this step's candidates [B, C]."""
        merged = torch.cat((self.scores, scores), dim=1)
        best = torch.topk(merged, k=self.scores.shape[1])[1]
        self.scores = merged.gather(1, best)
        self.is_finished = torch.cat((self.is_finished, is_finished), dim=1).gather(1, best)
        self.step = torch.cat((self.step, torch.full_like(parent, step)), dim=1).gather(1, best)
        self.parent = torch.cat((self.parent, parent), dim=1).gather(1, best)
        self.token = torch.cat((self.token, token), dim=1).gather(1, best)


def beam_search(
    model: StepModel,
    prompt_ids: Tensor,
    stopping: Stopping,
    *,
    num_beams: int,
    max_length: int,
    num_eos: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    do_sample: bool = False,
    num_return_sequences: int = 1,
    fill_token_id: int = -1,
    processors: Sequence[Process] = (),
    recorder: Recorder | None = None,
    seeds: Tensor | None = None,
) -> Beams:
    """The best ``num_return_sequences`` hypotheses of every item.

    prompt_ids: [B * K, P], each item's prompt K times, which is what ``model`` was given. num_eos: how many tokens can
    end a hypothesis, max(2, 1 + num_eos) * K candidates are kept at each step. length_penalty: hypotheses are compared
    by score / length ** length_penalty. early_stopping: True ends an item with K finished hypotheses, False when no
    running beam can get better at its present length, "never" when none can at ``max_length``. do_sample: candidates
    are drawn without replacement instead of being the best. seeds: [B] int64 for these draws, which then depend on
    the item's seed, step and beams alone; torch's own stream without them. fill_token_id: what follows an end.
    Reads two device values a step: whether beams changed places, and whether the search is over.
    Source: transformers 5.23, whose sequences, scores and beam indices these are, bit for bit in float32.
    """
    device = prompt_ids.device
    rows, prompt_length = prompt_ids.shape
    batch_size = rows // num_beams
    num_candidates = max(2, 1 + num_eos) * num_beams
    may_finish = torch.arange(num_candidates, device=device) < num_beams
    offsets = torch.arange(batch_size, device=device)[:, None] * num_beams
    scores = torch.zeros((batch_size, num_beams), dtype=torch.float32, device=device)
    scores[:, 1:] = OUT  # all beams are equal at first: only one of them may be continued
    pool = _Pool.empty(batch_size, num_beams, device)
    improvable = torch.ones((batch_size, 1), dtype=torch.bool, device=device)
    parents: list[Tensor] = []
    tokens: list[Tensor] = []
    length = prompt_length
    logits = model.prefill()
    while True:
        step = length - prompt_length
        if recorder is not None:
            logits = recorder.logits(logits)
        if do_sample or processors or recorder is not None:
            log_probs = torch.log_softmax(logits, dim=-1, out=logits)
            for processor in processors:
                log_probs = processor.apply(log_probs)
            if recorder is not None:
                recorder.step(log_probs)
            if do_sample:
                candidates = _draw(log_probs, scores, num_candidates, seeds, step)
            else:
                candidates = top_candidates(log_probs, scores, num_candidates)
        else:
            candidates = top_candidates(logits, scores, num_candidates, normalized=False)
        log_probs, parent, token = candidates
        del logits  # the model may write the next step's where these are
        ended = _ended(stopping, history=(prompt_ids, parents, tokens), parent=parent, token=token, recorder=recorder)

        # The beams that go on.
        running = log_probs + ended.to(torch.float32) * OUT
        best = torch.topk(running, k=num_beams)[1]
        scores = running.gather(1, best)
        parents.append(parent.gather(1, best))
        tokens.append(token.gather(1, best))

        # The hypotheses that end here.
        finishes = ended & may_finish
        final = log_probs / ((length + 1 - prompt_length) ** length_penalty)
        full = pool.is_finished.all(dim=1, keepdim=True) & (early_stopping is True)
        final += full.to(torch.float32) * OUT
        final += (~improvable).to(torch.float32) * OUT
        final += (~finishes) * OUT
        pool.merge(final, finishes, step, parent, token)

        length += 1
        reach = max_length if early_stopping == "never" and length_penalty > 0.0 else length
        best_possible = scores[:, :1] / ((reach - prompt_length) ** length_penalty)
        worst = torch.where(pool.is_finished, pool.scores.min(dim=1, keepdim=True)[0], OUT)
        improvable = improvable & (best_possible > worst).any(dim=-1, keepdim=True)
        going_on = improvable.any() & ~ended.all()
        if early_stopping is True:
            going_on = going_on & ~pool.is_finished.all()
        over = not bool(going_on)
        if not over or recorder is not None:
            moved = (parents[-1] + offsets).flatten()
            model.select_rows(moved)
            for processor in processors:
                processor.select_rows(moved)
        if over:
            break
        for processor in processors:
            processor.advance(tokens[-1].flatten())
        logits = model.step(tokens[-1].flatten())
    return _write_out(pool, prompt_ids, parents, tokens, offsets, num_return_sequences, fill_token_id)


def _draw(log_probs: Tensor, scores: Tensor, count: int, seeds: Tensor | None, step: int) -> Candidates:
    """The drawn candidates of a step; an error names the step."""
    try:
        if seeds is None:
            return sampled_candidates(log_probs, scores, count)
        return seeded_candidates(log_probs, scores, count, counter_keys(seeds, step))
    except ValueError as error:
        raise ValueError(f"{error} at step {step}") from error


def _ended(
    stopping: Stopping,
    *,
    history: tuple[Tensor, list[Tensor], list[Tensor]],
    parent: Tensor,
    token: Tensor,
    recorder: Recorder | None,
) -> Tensor:
    """Which candidates [B, C] end with their token."""
    prompt_ids, parents, tokens = history
    length = prompt_ids.shape[1] + len(tokens) + 1

    def ids() -> Tensor:
        past, _ = _walk(prompt_ids, parents, tokens, parent, len(tokens))
        return torch.cat((past, token[..., None]), dim=2).flatten(0, 1)

    return stopping.finished(token, length, ids=ids, scores=getattr(recorder, "scores", None))


def _walk(
    prompt_ids: Tensor, parents: list[Tensor], tokens: list[Tensor], beam: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """The ids [B, C, P + steps] of the beams ``beam`` [B, C] after ``steps`` steps, and the beams they passed."""
    batch_size = beam.shape[0]
    written, passed = [], []
    for step in range(steps - 1, -1, -1):
        written.append(tokens[step].gather(1, beam))
        beam = parents[step].gather(1, beam)
        passed.append(beam)
    first = prompt_ids.view(batch_size, prompt_ids.shape[0] // batch_size, prompt_ids.shape[1])
    prompt = first.gather(1, beam[..., None].expand(-1, -1, prompt_ids.shape[1]))
    if not written:
        return prompt, beam.new_empty((*beam.shape, 0))
    return torch.cat((prompt, torch.stack(written[::-1], dim=2)), dim=2), torch.stack(passed[::-1], dim=2)


def _write_out(
    pool: _Pool,
    prompt_ids: Tensor,
    parents: list[Tensor],
    tokens: list[Tensor],
    offsets: Tensor,
    num_return_sequences: int,
    fill_token_id: int,
) -> Beams:
    """Follow the pointers of the pool's first hypotheses back to the prompt."""
    take = slice(0, num_return_sequences)
    ends, parent, token = pool.step[:, take], pool.parent[:, take], pool.token[:, take]
    batch_size, count = ends.shape
    num_steps = int(ends.max()) + 1
    prompt_length = prompt_ids.shape[1]
    ids = prompt_ids.new_full((batch_size, count, prompt_length + num_steps), fill_token_id)
    ids[..., :prompt_length] = prompt_ids.view(batch_size, prompt_ids.shape[0] // batch_size, prompt_length)[:, :1]
    beams = torch.full((batch_size, count, num_steps), -1, dtype=torch.int32, device=prompt_ids.device)
    beam = parent.clamp(min=0)
    for step in range(num_steps - 1, -1, -1):
        is_last, is_inner = ends == step, ends > step
        if step < len(tokens):
            written = torch.where(is_last, token, tokens[step].gather(1, beam))
            before = torch.where(is_last, parent, parents[step].gather(1, beam))
        else:
            written, before = token, parent
        there = is_last | is_inner
        ids[..., prompt_length + step] = torch.where(there, written, ids[..., prompt_length + step])
        beams[..., step] = torch.where(there, before + offsets, -1).to(torch.int32)
        beam = torch.where(there, before, beam)
    scores = pool.scores[:, take]
    return Beams(ids.flatten(0, 1), scores.flatten(), beams.flatten(0, 1))
