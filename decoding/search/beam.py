"""Beam search and beam sampling, with transformers' arithmetic and none of its copies.

Beams: K per item of the batch, B items. A running beam is a score and a pair of pointers per step, (parent beam,
token); a hypothesis in the pool of finished ones is a score and the step, parent and token at which it ended. Sequences
are written out once, at the end. The cache moves only when beams change places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import torch
from torch import Tensor

from ..grammar.grammar_step import GrammarStep
from ..kernels.counter_noise import counter_keys
from ..kernels.device_race import StepNoise
from ..kernels.late_flags import LateFlag
from .allowed_candidates import allowed_candidates
from .beam_candidates import Candidates, kernel_candidates, top_candidates
from .beam_draws import by_score, no_probabilities, raced_candidates, sampled_candidates, seeded_candidates
from .decode_loop import Process, process
from .progress import Recorder
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


@dataclass(frozen=True)
class _Comparison:
    """How hypotheses are compared: by score / length ** penalty, and what still counts as an improvement.

    returned: how many of each item's hypotheses are asked for.
    """

    most_new_tokens: int
    length_penalty: float
    early_stopping: bool | str
    returned: int

    def scored(self, log_probs: Tensor, length: int) -> Tensor:
        """Scores of sequences of ``length`` new tokens."""
        divisor: float = length**self.length_penalty
        return log_probs / divisor

    def best_possible(self, log_probs: Tensor, length: int) -> Tensor:
        """The best that running beams can still reach, as transformers reckons it."""
        favours_length = self.early_stopping == "never" and self.length_penalty > 0.0
        return self.scored(log_probs, self.most_new_tokens if favours_length else length)


@dataclass
class _Running:
    """The search so far: running scores [B, K], a pair of pointers [B, K] per step, the pool of ended hypotheses.

    ``improvable`` [B, 1]: whether an item's pool can still get better. ``drawn`` [B]: on a device, the score of the
    first candidate drawn at the step, which is no number where an item has no probabilities. ``longest``: the last step
    of the hypotheses that would be returned now, read together with whether the search goes on.
    """

    prompt_ids: Tensor
    scores: Tensor
    pool: _Pool
    improvable: Tensor
    offsets: Tensor
    parents: list[Tensor] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    drawn: Tensor | None = None
    longest: int = -1

    @classmethod
    def start(cls, prompt_ids: Tensor, num_beams: int) -> "_Running":
        device, batch_size = prompt_ids.device, prompt_ids.shape[0] // num_beams
        scores = torch.zeros((batch_size, num_beams), dtype=torch.float32, device=device)
        scores[:, 1:] = OUT  # all beams are equal at first: only one of them may be continued
        improvable = torch.ones((batch_size, 1), dtype=torch.bool, device=device)
        offsets = torch.arange(batch_size, device=device)[:, None] * num_beams
        return cls(prompt_ids, scores, _Pool.empty(batch_size, num_beams, device), improvable, offsets)

    def take(self, candidates: Candidates, ended: Tensor, rule: _Comparison) -> None:
        """Choose the beams that go on and enter the hypotheses that end; ``ended`` [B, C]."""
        log_probs, parent, token = candidates
        num_beams = self.scores.shape[1]
        running = torch.add(log_probs, ended, alpha=OUT)
        best = torch.topk(running, k=num_beams)[1]
        self.scores = running.gather(1, best)
        step = len(self.tokens)
        self.parents.append(parent.gather(1, best))
        self.tokens.append(token.gather(1, best))

        finishes = ended & (torch.arange(ended.shape[1], device=ended.device) < num_beams)
        final = rule.scored(log_probs, step + 1)
        full = self.pool.is_finished.all(dim=1, keepdim=True) & (rule.early_stopping is True)
        for barred in (full, ~self.improvable, ~finishes):
            final.add_(barred, alpha=OUT)
        self.pool.merge(final, finishes, step, parent, token)

    def going_on(self, ended: Tensor, rule: _Comparison) -> Tensor:
        """Whether some item can still improve, as a tensor []."""
        best_possible = rule.best_possible(self.scores[:, :1], len(self.tokens))
        worst = torch.where(self.pool.is_finished, self.pool.scores.amin(dim=1, keepdim=True), OUT)
        self.improvable = self.improvable & (best_possible > worst).any(dim=-1, keepdim=True)
        going_on = self.improvable.any() & ~ended.all()
        return going_on & ~self.pool.is_finished.all() if rule.early_stopping is True else going_on

    def told(self, ended: Tensor, rule: _Comparison, doubt: Tensor | None = None) -> Tensor:
        """What the host needs of a step: how long what is found is, whether the search goes on, and what may fail.

        doubt: [B], items whose candidates were not certain.
        """
        told = [self.pool.step[:, : rule.returned].max(), self.going_on(ended, rule)]
        if doubt is not None:
            told.append(doubt.any())
        if self.drawn is None:
            return torch.stack(told)
        # Steps are far below 2**24, from where on float32 leaves whole numbers out.
        return torch.cat([torch.stack([each.to(self.drawn.dtype) for each in told]), self.drawn])

    def heard(self, told: Tensor, *, doubted: bool = False) -> bool | None:
        """Whether the search goes on, from what it ``told``; None where it was ``doubted`` and something is in doubt.

        Raises for an item that could not be drawn on a device.
        """
        longest, goes_on, *rest = told.tolist()
        self.longest = int(longest)
        if doubted:
            return None if rest[0] else bool(goes_on)
        item = next((item for item, score in enumerate(rest) if not isfinite(score)), None)
        if item is not None:
            raise ValueError(f"{no_probabilities(item)} at step {len(self.tokens) - 1}")
        return bool(goes_on)

    def copied(self) -> "_Running":
        """The same search, to be taken a step further by itself: a step replaces tensors and writes into none."""
        return replace(self, pool=replace(self.pool), parents=self.parents.copy(), tokens=self.tokens.copy())

    def moves(self) -> Tensor:
        """Which row [B * K] each running beam continues."""
        return (self.parents[-1] + self.offsets).flatten()

    def ids(self, parent: Tensor, token: Tensor) -> Tensor:
        """The token ids [B * C, T] of candidates [B, C] of the step to come."""
        batch_size, prompt_length = parent.shape[0], self.prompt_ids.shape[1]
        written, beam = [token], parent
        for step in range(len(self.tokens) - 1, -1, -1):
            written.append(self.tokens[step].gather(1, beam))
            beam = self.parents[step].gather(1, beam)
        first = self.prompt_ids.view(batch_size, -1, prompt_length)
        prompt = first.gather(1, beam[..., None].expand(-1, -1, prompt_length))
        return torch.cat((prompt, torch.stack(written[::-1], dim=2)), dim=2).flatten(0, 1)


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
    ranked_draws: bool = False,
    num_return_sequences: int = 1,
    fill_token_id: int = -1,
    processors: Sequence[Process] = (),
    recorder: Recorder | None = None,
    seeds: Tensor | None = None,
    late_stop: bool = False,
    uncut: bool = False,
) -> Beams:
    """The best ``num_return_sequences`` hypotheses of every item.

    prompt_ids: [B * K, P], each item's prompt K times, which is what ``model`` was given. num_eos: how many tokens can
    end a hypothesis, max(2, 1 + num_eos) * K candidates are kept at each step. length_penalty: hypotheses are compared
    by score / length ** length_penalty. early_stopping: True ends an item with K finished hypotheses, False when no
    running beam can get better at its present length, "never" when none can at ``max_length``. do_sample: candidates
    are drawn without replacement instead of being the best; ranked_draws: those drawn are put in the order of their
    scores (transformers from 5.24 on) instead of staying as drawn, and the first K may end. seeds: [B] int64 for these
    draws, which then depend on the item's seed, step and beams alone; torch's own stream without them. fill_token_id:
    what follows an end. late_stop: on CUDA, whether the search goes on is heard while the next forward runs: the model
    reads one token more than it needs to, and an item that cannot be drawn is named one step late. uncut: where it has
    run to its length on CUDA, the results are as wide, and nobody waits for how long the longest of them is; hypotheses
    that have ended before are filled up.
    Reads one device value a step, late or not: whether the search is over, and whether every item could be drawn.
    Candidates of triton's kernels are never heard of late: those in doubt are taken again from the same logits.
    Source: transformers 5.23, whose sequences, scores and beam indices these are, bit for bit in float32; the last
    places of scores may differ where a CUDA device's kernels give the candidates, which a close call does not let pass.
    """
    rule = _Comparison(max_length - prompt_ids.shape[1], length_penalty, early_stopping, num_return_sequences)
    beams = _Running.start(prompt_ids, num_beams)
    num_candidates = max(2, 1 + num_eos) * num_beams
    reorder = getattr(model, "reorder_beams", model.select_rows)
    logits = model.prefill()
    noise = _noise_of(seeds, num_beams * logits.shape[1])
    flag = LateFlag() if late_stop and recorder is None and prompt_ids.device.type == "cuda" else None
    uncut = uncut and not stopping.criteria
    step = _Step(rule, stopping, num_candidates, processors, recorder, do_sample, ranked_draws, noise, flag, uncut)
    while True:
        beams, goes_on = step.taken(beams, logits)
        del logits  # the model may write the next step's where these are
        over = not goes_on
        if not over or recorder is not None:
            moved = beams.moves()
            reorder(moved)
            for processor in processors:
                processor.select_rows(moved)
        if over:
            return _write_out(beams, num_return_sequences, fill_token_id)
        token_ids = beams.tokens[-1].flatten()
        for processor in processors:
            processor.advance(token_ids)
        logits = model.step(token_ids)
        if not step.heard(beams):
            getattr(model, "take_back", lambda: None)()
            return _write_out(beams, num_return_sequences, fill_token_id)


@dataclass(frozen=True)
class _Step:
    """What a step of the search is but for its logits; ``count``: candidates of an item."""

    rule: _Comparison
    stopping: Stopping
    count: int
    processors: Sequence[Process]
    recorder: Recorder | None
    do_sample: bool
    ranked_draws: bool
    seeds: Tensor | StepNoise | None
    flag: LateFlag | None  # where whether the search goes on is heard when the next forward has begun
    uncut: bool  # whether nobody asks at the last step how long the longest hypothesis is

    def heard(self, beams: _Running) -> bool:
        """Whether the search goes on, where that is heard late; else it does."""
        told = None if self.flag is None else self.flag.receive()
        return told is None or bool(beams.heard(told))

    def taken(self, beams: _Running, logits: Tensor) -> tuple[_Running, bool]:
        """The search a step further, and whether it goes on as far as is known; ``logits`` [B * K, V] may be written
        into."""
        plain = not self.do_sample and not self.processors and self.recorder is None
        found = kernel_candidates(logits, beams.scores, self.count) if plain and not self.stopping.criteria else None
        if found is not None:
            further, (candidates, doubt) = beams.copied(), found
            goes_on = self._entered(further, candidates, doubt)
            if goes_on is not None:
                return further, goes_on
        candidates = (
            self._candidates(beams, logits)
            if not plain
            else top_candidates(logits, beams.scores, self.count, normalized=False)
        )
        return beams, bool(self._entered(beams, candidates))

    def _entered(self, beams: _Running, candidates: Candidates, doubt: Tensor | None = None) -> bool | None:
        """Let the candidates be chosen from; see ``_Running.heard``."""
        ended = _ended(self.stopping, beams, candidates, self.recorder)
        beams.take(candidates, ended, self.rule)
        told = beams.told(ended, self.rule, doubt)
        over = self.stopping.everywhere(beams.prompt_ids.shape[1] + len(beams.tokens))
        if over and self.uncut and self.flag is not None and doubt is None and beams.drawn is None:
            beams.longest = len(beams.tokens) - 1
            return False
        if self.flag is None or doubt is not None or over:
            return beams.heard(told, doubted=doubt is not None)
        self.flag.send(told)
        return True

    def _candidates(self, beams: _Running, logits: Tensor) -> Candidates:
        """The continuations of every item by their log-probabilities, which processors and the recorder see."""
        if self.recorder is not None:
            logits = self.recorder.logits(logits)
        grammar, others = self._asked(), self.processors[:-1]
        if grammar is not None and not others:
            return allowed_candidates(logits, beams.scores, self.count, grammar, normalized=False)
        log_probs = torch.log_softmax(logits, dim=-1, out=logits)
        if grammar is not None:
            return allowed_candidates(process(log_probs, others, None), beams.scores, self.count, grammar)
        log_probs = process(log_probs, self.processors, None)
        if self.recorder is not None:
            self.recorder.step(log_probs)
        if not self.do_sample:
            return top_candidates(log_probs, beams.scores, self.count)
        drawn = _draw(log_probs, beams.scores, self.count, self.seeds, len(beams.tokens))
        beams.drawn = None if log_probs.device.type == "cpu" else drawn[0][:, 0]
        return by_score(drawn) if self.ranked_draws else drawn

    def _asked(self) -> GrammarStep | None:
        """The grammar at the end of the processors, where nobody sees what it leaves but the choice of the best."""
        last = self.processors[-1] if self.processors else None
        return last if isinstance(last, GrammarStep) and self.recorder is None and not self.do_sample else None


def _noise_of(seeds: Tensor | None, width: int) -> Tensor | StepNoise | None:
    """Seeds, or on a device their noise step after step."""
    return seeds if seeds is None or seeds.device.type == "cpu" else StepNoise(seeds, width, proposals=False)


def _draw(log_probs: Tensor, scores: Tensor, count: int, seeds: Tensor | StepNoise | None, step: int) -> Candidates:
    """The drawn candidates of a step; an error names the step."""
    try:
        if seeds is None:
            return sampled_candidates(log_probs, scores, count)
        if isinstance(seeds, StepNoise):
            return raced_candidates(log_probs, scores, count, seeds.of(step).race())
        return seeded_candidates(log_probs, scores, count, counter_keys(seeds, step))
    except ValueError as error:
        raise ValueError(f"{error} at step {step}") from error


def _ended(stopping: Stopping, beams: _Running, candidates: Candidates, recorder: Recorder | None) -> Tensor:
    """Which candidates [B, C] end with their token."""
    _, parent, token = candidates
    length = beams.prompt_ids.shape[1] + len(beams.tokens) + 1
    scores = getattr(recorder, "scores", None)
    return stopping.finished(token, length, ids=lambda: beams.ids(parent, token), scores=scores)


def _write_out(found: _Running, num_return_sequences: int, fill_token_id: int) -> Beams:
    """Follow the pointers of the pool's first hypotheses back to the prompt."""
    take = slice(0, num_return_sequences)
    pool, prompt_ids, tokens = found.pool, found.prompt_ids, found.tokens
    ends, parent, token = pool.step[:, take], pool.parent[:, take], pool.token[:, take]
    batch_size, count = ends.shape
    num_steps = found.longest + 1
    prompt_length = prompt_ids.shape[1]
    ids = prompt_ids.new_full((batch_size, count, prompt_length + num_steps), fill_token_id)
    ids[..., :prompt_length] = prompt_ids.view(batch_size, prompt_ids.shape[0] // batch_size, prompt_length)[:, :1]
    beams = torch.full((batch_size, count, num_steps), -1, dtype=torch.int32, device=prompt_ids.device)
    beam = parent.clamp(min=0)
    for step in range(num_steps - 1, -1, -1):
        is_last, is_inner = ends == step, ends > step
        if step < len(tokens):
            written = torch.where(is_last, token, tokens[step].gather(1, beam))
            before = torch.where(is_last, parent, found.parents[step].gather(1, beam))
        else:
            written, before = token, parent
        there = is_last | is_inner
        ids[..., prompt_length + step] = torch.where(there, written, ids[..., prompt_length + step])
        beams[..., step] = torch.where(there, before + found.offsets, -1).to(torch.int32)
        beam = torch.where(there, before, beam)
    return Beams(ids.flatten(0, 1), pool.scores[:, take].flatten(), beams.flatten(0, 1))
