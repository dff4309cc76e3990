"""generate_stream() against transformers' batches and against a bare loop that no row leaves early."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

import pytest
import torch

from afterlogits.adapters import generate_stream
from afterlogits.benchmarks import bare, workloads
from afterlogits.benchmarks.answers import UnequalAnswers
from afterlogits.benchmarks.pairing import at_least, at_most
from afterlogits.benchmarks.stage import Timed

TABLE = "generation"
COUNT, ROWS, PROMPT, LONGEST = 1024, 32, 32, 256
EVERY = 4  # of transformers' batches one in so many is run: all of them take minutes
NOTE = (
    f"transformers runs one in {EVERY} of its batches, once; a batch costs what its steps cost, and the time of all is "
    "that of these by the number of steps"
)

MODELS = {
    "2 layers of 64, V=151,936": ({}, workloads.LARGE_VOCABULARY),
    "6 layers of 384, V=32,000": ({"layers": 6, "hidden": 384}, workloads.VOCABULARIES["llama-2"]),
}


@functools.cache
def decoder(device, described):
    shape, vocab_size = MODELS[described]
    return workloads.tiny_llama(**shape, vocab_size=vocab_size).to(device)


def full(model, prompt, lengths):
    """As many rows, prompts and tokens as the stream has, and contexts as long on average, full at every step.

    Of geometric lengths a token stands as far behind its prompt, on average, as in rows of twice the mean: half the
    prompts write twice as much, the others are only read.
    """
    longer = 2 * round(sum(lengths) / len(lengths))
    for number, ids in enumerate(prompt.split(ROWS)):
        bare.greedy(model, ids, longer) if number % 2 else bare.prefill(model, ids)


def batches_of(model, prompt, lengths):
    """transformers' generate, 32 prompts at a time, each batch as long as its longest row: the time of all batches,
    and the rows of those that were run, by their number."""
    longest = [max(lengths[first : first + ROWS]) for first in range(0, len(prompt), ROWS)]
    found, seconds = {}, 0.0
    for batch in range(0, len(longest), EVERY):
        first = batch * ROWS
        ids = prompt[first : first + ROWS]
        options = {"do_sample": False, "pad_token_id": 0, "max_new_tokens": longest[batch]}
        start = time.perf_counter()
        rows = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        seconds += time.perf_counter() - start
        for place, row in enumerate(rows, start=first):
            found[place] = row[PROMPT : PROMPT + lengths[place]].tolist()
    return seconds * sum(longest) / sum(longest[::EVERY]), found


def once(model, prompt, lengths):
    """``batches_of``, run where the answers are compared and never again."""
    return Timed(functools.cache(lambda: batches_of(model, prompt, lengths)))


def nearly_same(ours, theirs):
    """Rows that part do so at near ties of random weights: nearly all must be equal, and all as long."""
    if any(len(ours[place]) != len(row) for place, row in theirs.items()):
        raise UnequalAnswers("rows are not of the lengths that were asked for")
    parted = sum(ours[place] != row for place, row in theirs.items())
    if parted > len(theirs) // 50:
        raise UnequalAnswers(f"{parted} of {len(theirs)} rows differ")


@pytest.mark.full
@pytest.mark.parametrize("described", MODELS)
def bench_running_batch(pair, described):
    """Prompts join where rows have left."""
    model = decoder(pair.device, described)
    pair.budget = replace(pair.budget, least=2)  # a round takes half a minute
    prompt = workloads.prompts(COUNT, PROMPT, MODELS[described][1], device=pair.device)
    lengths = workloads.geometric_lengths(COUNT, mean=32, longest=LONGEST)

    def ours():
        stream = generate_stream(
            model, prompt, max_rows=ROWS, ordered=True, do_sample=False, pad_token_id=0, max_new_tokens=lengths
        )
        return [row.new_ids.tolist() for row in stream]

    pair(
        f"{COUNT} prompts, geometric lengths of mean 32 up to {LONGEST}, {ROWS} rows, {described}",
        table=TABLE,
        ours=ours,
        rivals={"transformers": once(model, prompt, lengths)},
        limits={"bare": lambda: full(model, prompt, lengths)},
        asked=[at_most(1.15, "bare"), at_least(2.5, "transformers")],
        same=nearly_same,
        note=NOTE,
        memory=(),
        rounds=2,
        readme="a stream of prompts of unequal length, 32 rows at a time" if not MODELS[described][0] else "",
    )
