"""One drawn sampling call: the fast draw beside transformers' own processors, softmax, multinomial and stream."""

import random
from dataclasses import dataclass

import torch
from transformers.generation import logits_process as library

from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.kernels.exponential_race import full_winner
from afterlogits.decoding.kernels.rejection import flat_rows
from tests.builders.logits_cases import DTYPES, SIZES, draw_logits, draw_share, draw_top_k
from tests.oracles.race import flat_token, library_draw


@dataclass
class Tally:
    """cases and rows compared, rows that the fast paths were asked for, and those they could not prove."""

    cases: int = 0
    rows: int = 0
    drawn: int = 0
    fallbacks: int = 0

    def add(self, sampler: Sampler, rows: int) -> None:
        self.cases += 1
        self.rows += rows
        self.drawn += sampler.drawn
        self.fallbacks += sampler.fallbacks

    def __str__(self) -> str:
        rate = self.fallbacks / max(self.drawn, 1)
        return f"{self.cases} calls, {self.rows} rows, {self.drawn} by the fast path, fallback rate {rate:.4%}"


def processors_for(temperature: float, top_k: int, top_p: float, min_p: float | None, keep: int) -> list:
    """Transformers' warpers for one row's options, built as ``generate`` builds them."""
    built: list = []
    if temperature != 1.0:
        built.append(library.TemperatureLogitsWarper(temperature))
    if top_k != 0:
        built.append(library.TopKLogitsWarper(top_k, min_tokens_to_keep=keep))
    if top_p < 1.0:
        built.append(library.TopPLogitsWarper(top_p, min_tokens_to_keep=keep))
    if min_p is not None:
        built.append(library.MinPLogitsWarper(min_p, min_tokens_to_keep=keep))
    return built


def compare_draw(rng: random.Random, tally: Tally, *, vocab_size: int | None = None) -> None:
    """Draw logits and options, and compare: the stream with transformers, seeds with the draw in full."""
    vocab_size = vocab_size or rng.choice(SIZES)
    rows = rng.choice([1, 2, 5, 9])
    logits = draw_logits(rng, vocab_size, rows, rng.choice(DTYPES))
    logits = logits[logits.amax(-1).isfinite()]
    rows = len(logits)
    if not rows:
        return
    keep = rng.choice([1, 1, 1, 2, 3])
    temperatures = [rng.choice([0.8, 1.0, 0.5, 1.3, 0.1]) for _ in range(rows)]
    top_ks = [rng.choice([0, draw_top_k(rng, vocab_size), 50]) for _ in range(rows)]
    top_ps = [draw_share(rng) if rng.random() < 0.6 else 1.0 for _ in range(rows)]
    min_ps = [draw_share(rng) * rng.choice([0, 1, 0.1, 0.01]) for _ in range(rows)]
    per_row = rng.random() < 0.4
    if not per_row:
        temperatures, top_ks, top_ps, min_ps = ([x[0]] * rows for x in (temperatures, top_ks, top_ps, min_ps))
    which = slice(None) if per_row else 0
    params = SamplingParams(
        temperature=temperatures[which],
        top_k=top_ks[which],
        top_p=top_ps[which],
        min_p=min_ps[which],
        min_tokens_to_keep=keep,
    )
    seed = rng.randrange(2**31)
    ours, theirs = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    sampler = Sampler(params, batch_size=rows, vocab_size=vocab_size, device="cpu", generator=ours)
    tokens = sampler.select(logits)
    # Row by row: the stream is row-major, so a batch draws what its rows draw one after the other.
    for i in range(rows):
        chain = processors_for(temperatures[i], top_ks[i], top_ps[i], min_ps[i], keep)
        expected = library_draw(chain, logits[i : i + 1], theirs)
        assert tokens[i] == expected[0], f"row {i} of {rows}, V={vocab_size}, {logits.dtype}, {params}: {tokens[i]}"
    assert torch.equal(ours.get_state(), theirs.get_state())
    tally.add(sampler, rows)

    seeds = [rng.randrange(-(2**63), 2**63) for _ in range(rows)]
    seeded = Sampler(params, batch_size=rows, vocab_size=vocab_size, device="cpu", seeds=seeds)
    tokens = seeded.select(logits, step=7)
    tally.add(seeded, rows)
    full = Sampler(params, batch_size=rows, vocab_size=vocab_size, device="cpu", seeds=seeds)
    keys = full.keys(7)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    filtered = full.process(logits)
    expected = full_winner(wide, filtered, keys, full.params.on.get("temperature", 1.0))
    kept = filtered > -torch.inf
    for i in range(rows):
        own = SamplingParams(
            temperature=temperatures[i], top_k=top_ks[i], top_p=top_ps[i], min_p=min_ps[i], min_tokens_to_keep=keep
        ).compiled(1, logits.device)
        if flat_rows(logits[i : i + 1], own)[0]:
            expected[i] = flat_token(logits[i], kept[i], temperatures[i], seeds[i], 7)
    assert torch.equal(tokens, expected), f"{params} V={vocab_size}"
