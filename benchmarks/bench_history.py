"""Penalties that know the tokens so far, step by step: less than one read of the logits, whatever the history."""

from __future__ import annotations

import functools

import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.pairing import at_most
from afterlogits.decoding import CountPenaltyStep, RepetitionPenaltyStep
from afterlogits.decoding.ngrams import NoRepeatNgramStep

BATCH, LENGTH, VOCAB = 64, 4096, workloads.LARGE_VOCABULARY


def count_penalties(token_ids, logits):
    """Presence and frequency penalties as vLLM defines them, with a table of counts over the vocabulary."""
    counts = torch.zeros_like(logits).scatter_add_(1, token_ids, torch.ones(token_ids.shape, device=logits.device))
    return logits - 0.2 * counts - 0.5 * (counts > 0)


STEPS = {
    "repetition penalty 1.2": (
        lambda ids: RepetitionPenaltyStep(ids, 1.2, vocab_size=VOCAB),
        {"transformers": RepetitionPenaltyLogitsProcessor(1.2)},
    ),
    "no-repeat 3-gram": (
        lambda ids: NoRepeatNgramStep(ids, 3),
        {"transformers": NoRepeatNGramLogitsProcessor(3)},
    ),
    "presence 0.5 + frequency 0.2": (
        lambda ids: CountPenaltyStep(ids, frequency_penalty=0.2, presence_penalty=0.5, vocab_size=VOCAB),
        {"counts over the vocabulary": count_penalties},
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("name", [*STEPS])
def bench_penalty_step(pair, name):
    """apply and advance of one decode step; both sides get fresh logits, made outside the clock."""
    make, rivals = STEPS[name]
    logits = workloads.peaked(BATCH, VOCAB, device=pair.device, dtype=pair.dtype)
    token_ids = workloads.history(BATCH, LENGTH, VOCAB).to(pair.device)
    step = make(token_ids)
    following = workloads.history(BATCH, 256, VOCAB, seed=1).to(pair.device).unbind(1)
    position = iter([*following] * 10)

    def ours(fresh):
        changed = step.apply(fresh)
        step.advance(next(position))
        return changed

    pair(
        f"{name}, history 4,096, B=64",
        table="history",
        ours=ours,
        rivals={side: functools.partial(rival, token_ids) for side, rival in rivals.items()},
        data=logits,
        asked=[at_most(1, "read")],
        prepare=lambda: (logits.clone(),),
        rounds=20,
    )
