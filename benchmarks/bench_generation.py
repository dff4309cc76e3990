"""generate() against transformers' and against a bare loop of forward calls."""

from __future__ import annotations

import functools
import time

import pytest
import torch

from afterlogits import generate
from afterlogits.benchmarks import bare, workloads
from afterlogits.benchmarks.answers import UnequalAnswers, require_same
from afterlogits.benchmarks.pairing import Timed, at_least, at_most

TABLE = "generation"
PROMPT, NEW = 32, 48


@functools.cache
def model_on(device, **shape):
    return workloads.tiny_llama(**shape).to(device)


def once(run):
    """A side that takes many times as long as ours: run and timed once, where the answers are compared."""

    @functools.cache
    def timed():
        start = time.perf_counter()
        answer = run()
        return time.perf_counter() - start, answer

    return Timed(timed)


ONCE = "transformers is run once"


def same_length(ours, theirs):
    """For draws with other noise: as many tokens of as many rows."""
    if ours.shape != theirs.shape:
        raise UnequalAnswers(f"ours has shape {list(ours.shape)}, theirs {list(theirs.shape)}")


def generate_pair(
    pair,
    name,
    *,
    batch_size,
    options,
    asked,
    ours_only=None,
    bare_rows=1,
    bare_answer=False,
    single=False,
    new=NEW,
    **more,
):
    """One row of the table: this engine, transformers and the bare loop on the same prompt."""
    model = model_on(pair.device)
    prompt = workloads.prompts(batch_size, PROMPT, device=pair.device)
    wide = prompt.repeat_interleave(bare_rows, dim=0)
    common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": new, "pad_token_id": 0, **options}

    def library():
        return model.generate(prompt, **common)

    pair(
        name,
        table=TABLE,
        ours=lambda: generate(model, prompt, **common, **(ours_only or {})),
        rivals={"transformers": once(library) if single else library},
        note=ONCE if single else "",
        limits={"bare": lambda: bare.greedy(model, wide, new)},
        limit_answers=["bare"] if bare_answer else [],
        asked=asked,
        reset=lambda: torch.manual_seed(0),
        **{"memory": ("ours", "bare"), **more},
    )


@pytest.mark.parametrize(("batch_size", "bound"), [(1, 1.25), pytest.param(16, 1.1, marks=pytest.mark.full)])
def bench_greedy(pair, batch_size, bound):
    generate_pair(
        pair,
        f"greedy, B={batch_size}",
        batch_size=batch_size,
        options={"do_sample": False},
        asked=[at_most(bound, "bare")],
        bare_answer=True,
        readme="greedy generate(), 16 rows" if batch_size == 16 else "",
    )


@pytest.mark.full
def bench_top_k_top_p_seeds(pair):
    generate_pair(
        pair,
        "top_k 50 + top_p 0.95, B=16, seeds",
        batch_size=16,
        options={"do_sample": True, "top_k": 50, "top_p": 0.95},
        ours_only={"seeds": list(range(16))},
        asked=[at_most(1.25, "bare")],
        same=same_length,
        readme="sampled generate(), top-k 50 + top-p 0.95, 16 rows, a seed per row",
    )


@pytest.mark.full
def bench_top_k_top_p_stream(pair):
    generate_pair(
        pair,
        "top_k 50 + top_p 0.95, B=16, torch stream",
        batch_size=16,
        options={"do_sample": True, "top_k": 50, "top_p": 0.95},
        asked=[at_least(3, "transformers")],
    )


@pytest.mark.full
def bench_top_p_seeds(pair):
    generate_pair(
        pair,
        "top_p 0.9, B=16, seeds",
        batch_size=16,
        options={"do_sample": True, "top_k": 0, "top_p": 0.9},
        ours_only={"seeds": list(range(16))},
        asked=[at_most(1.4, "bare")],
        same=same_length,
        single=True,
        new=8,
        memory=(),
        rounds=3,
    )


@pytest.mark.full
def bench_beam(pair):
    generate_pair(
        pair,
        "beam 4, B=16 (bare on 64 rows)",
        batch_size=16,
        options={"do_sample": False, "num_beams": 4},
        asked=[at_most(1.3, "bare"), at_least(2.5, "transformers")],
        bare_rows=4,
        readme="beam search generate(), 4 beams, 16 prompts",
    )


@pytest.mark.full
def bench_penalties(pair):
    generate_pair(
        pair,
        "repetition penalty 1.2 + no-repeat 3-gram, B=16",
        batch_size=16,
        options={"do_sample": False, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
        asked=[at_most(1.15, "bare")],
    )


@pytest.mark.full
def bench_compact(pair):
    """Rows that stop early leave the batch; the bare loop runs at each step just the rows still alive."""
    model = model_on(pair.device)
    lengths = sorted(workloads.geometric_lengths(64, mean=32, longest=256), reverse=True)
    prompt = workloads.prompts(64, PROMPT, device=pair.device)
    options = {"attention_mask": torch.ones_like(prompt), "do_sample": False, "pad_token_id": 0}

    def written(output):
        return [row[PROMPT : PROMPT + length] for row, length in zip(output, lengths, strict=True)]

    def same(ours, theirs):
        require_same(written(ours) if isinstance(ours, torch.Tensor) else ours, theirs)

    pair(
        "64 rows, geometric lengths of mean 32 up to 256, compact",
        table=TABLE,
        ours=lambda: written(generate(model, prompt, max_new_tokens=lengths, compact=True, **options)),
        rivals={"transformers": once(lambda: written(model.generate(prompt, max_new_tokens=256, **options)))},
        note=ONCE,
        limits={"bare": lambda: bare.greedy_alive(model, prompt, lengths)},
        limit_answers=["bare"],
        asked=[at_most(1.3, "bare")],
        same=same,
        memory=(),
        rounds=3,
        readme="64 rows of unequal length; finished rows leave the batch",
    )


SHARED = [
    pytest.param({"num_beams": 4, "do_sample": False}, "beam 4", id="beam_4"),
    pytest.param({"num_return_sequences": 8, "do_sample": True, "top_k": 50}, "8 samples", id="8_samples"),
]


@pytest.mark.full
@pytest.mark.parametrize(("options", "described"), SHARED)
def bench_shared_prefill(pair, options, described):
    """The prompt is run once, whatever is made of it: the first token's time against one prefill."""
    model = model_on(pair.device, layers=6, hidden=384, vocab_size=workloads.VOCABULARIES["llama-2"])
    prompt = workloads.prompts(4, 512, workloads.VOCABULARIES["llama-2"], device=pair.device)
    common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 1, "pad_token_id": 0, **options}
    pair(
        f"prompt 512, {described} per prompt: prefill",
        table=TABLE,
        ours=lambda: generate(model, prompt, **common),
        rivals={"transformers": lambda: model.generate(prompt, **common)},
        limits={"prefill": lambda: bare.prefill(model, prompt)},
        asked=[at_most(1.2, "prefill")],
        reset=lambda: torch.manual_seed(0),
    )


@pytest.mark.full
def bench_prompt_lookup(pair):
    """Text that repeats: 8 tokens and 120 of the model's own. Random weights write loops and leave one for another.

    Of the 64 tokens that follow, a row has 1 to 9 different ones; one row of the eight hardly repeats.
    """
    vocab_size = workloads.VOCABULARIES["llama-2"]
    model = model_on(pair.device, layers=6, hidden=256, vocab_size=vocab_size)
    start = workloads.prompts(8, 8, vocab_size, device=pair.device)
    prompt = bare.greedy(model, start, 120)
    common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 64, "do_sample": False, "pad_token_id": 0}
    pair(
        "prompt lookup on text that repeats, B=8, greedy, 6 layers",
        table=TABLE,
        ours=lambda: generate(model, prompt, prompt_lookup_num_tokens=10, **common),
        rivals={
            "plain greedy": lambda: generate(model, prompt, **common),
            "transformers": lambda: model.generate(prompt, **common),
        },
        asked=[at_least(1.5, "plain greedy")],
        memory=(),
    )
