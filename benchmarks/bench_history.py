"""Penalties that know the tokens so far, step by step: less than one read of the logits, whatever the history."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.pairing import at_least, at_most
from afterlogits.decoding import CountPenaltyStep, EncoderNoRepeatNgramStep, RepetitionPenaltyStep
from afterlogits.decoding.processors.ngrams import NoRepeatNgramStep

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


# How often a token repeats an earlier one: text, and twice as many different tokens as text has.
HISTORIES = {"": 0.5, ", few repeats": 0.0}


@pytest.mark.full
@pytest.mark.parametrize("kind", [*HISTORIES])
@pytest.mark.parametrize("name", [*STEPS])
def bench_penalty_step(pair, name, kind):
    """apply and advance of one decode step; both sides get fresh logits, made outside the clock."""
    make, rivals = STEPS[name]
    logits = workloads.peaked(BATCH, VOCAB, device=pair.device, dtype=pair.dtype)
    text = workloads.history(BATCH, LENGTH + 256, VOCAB, repeats=HISTORIES[kind]).to(pair.device)
    token_ids = text[:, :LENGTH].contiguous()
    step = make(token_ids)
    position = itertools.cycle(text[:, LENGTH:].unbind(1))

    def ours(fresh):
        changed = step.apply(fresh)
        step.advance(next(position))
        return changed

    pair(
        f"{name}, history 4,096{kind}, B=64",
        table="history",
        ours=ours,
        rivals={side: functools.partial(rival, token_ids) for side, rival in rivals.items()},
        data=logits,
        asked=[at_most(1, "read")],
        prepare=lambda: (logits.clone(),),
        rounds=20,
    )


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("kind", ["hit", "no hit"])
def bench_encoder_ngram_step(pair, kind, batch_size):
    """apply and advance of one decode step beside an encoder's 64 tokens, of which it may repeat no three."""
    vocab_size = 32_000
    logits = workloads.peaked(batch_size, vocab_size, device=pair.device, dtype=pair.dtype)
    source = workloads.history(batch_size, 64, vocab_size, repeats=0.0).to(pair.device)
    token_ids = workloads.history(batch_size, 20, vocab_size, seed=1, repeats=0.0).to(pair.device)
    if kind == "hit":  # the same two tokens again and again, so that every step of both sides ends in them
        source[:, 6] = source[:, 5]
        token_ids[:, -2:] = source[:, 5:7]
    step = EncoderNoRepeatNgramStep(token_ids, 3, encoder_token_ids=source)
    processor = EncoderNoRepeatNGramLogitsProcessor(3, source)
    last = token_ids[:, -1].contiguous() if kind == "hit" else token_ids[:, -2].contiguous()

    def ours(fresh):
        changed = step.apply(fresh)
        step.advance(last)
        return changed

    pair(
        f"encoder's no-repeat 3-gram, {kind}, B={batch_size}",
        table="history",
        ours=ours,
        rivals={"transformers": functools.partial(processor, token_ids)},
        data=logits,
        asked=[at_least(1, "transformers")],
        prepare=lambda: (logits.clone(),),
        rounds=20,
    )
