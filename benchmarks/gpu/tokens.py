"""The same tokens: seeded ones as on the CPU, torch's stream as transformers draws it, kernels as their twins."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from afterlogits.benchmarks import library, workloads
from afterlogits.benchmarks.gpu.findings import Check
from afterlogits.decoding import Sampler, SamplingParams, sample
from afterlogits.decoding.kernels.counter_noise import counter_exponential, counter_keys
from afterlogits.decoding.triton_kernels import accept, beam_select, decide_and_draw, penalise, row_stats
from afterlogits.decoding.triton_kernels.draw import draw_rows, may_run
from afterlogits.decoding.triton_kernels.row_options import RowOptions

OPTIONS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.8, "top_k": 50, "top_p": 0.95},
    {"top_p": 0.9},
    {"temperature": 1.3},
    {"min_p": 0.05},
    {"top_k": 1},
    {"temperature": 0.05, "top_p": 0.9},
    {"top_k": 700, "top_p": 0.6},
)


def sizes(check: Check) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Vocabularies and numbers of rows."""
    return ((5003,), (1, 7)) if check.dry else ((32_000, 128_256, 151_936, 262_144), (1, 7, 64))


def shapes_of_rows(rows: int, vocab_size: int) -> Tensor:
    """Peaked, flat and adversarial rows by turns, on the CPU."""
    makers = (workloads.peaked, workloads.flat, workloads.adversarial)
    return torch.cat([makers[i % 3](1, vocab_size, seed=i) for i in range(rows)])


def kernels(on: bool) -> AbstractContextManager[Any]:
    """Kernels, or torch alone."""
    return mock.patch.dict(os.environ, AFTERLOGITS_KERNELS=os.environ.get("AFTERLOGITS_KERNELS", "") if on else "off")


def seeded_as_on_the_cpu(check: Check) -> None:
    """Tokens of device logits with seeds against the CPU's, by torch alone and by kernels.

    Where equal logits meet the end of a nucleus the CPU's unstable sort decides: by torch alone, rows of unlike logits
    must be equal; by kernels, every row that is not flagged as doubtful.
    """
    for vocab_size in sizes(check)[0]:
        for dtype in (torch.float32, torch.bfloat16):
            logits = shapes_of_rows(9, vocab_size).to(dtype)
            distinct = torch.tensor([dtype == torch.float32 and i % 3 != 2 for i in range(len(logits))])
            found = [_unlike(check, logits, distinct, options) for options in OPTIONS]
            name, rows = f"V={vocab_size}, {str(dtype)[6:]}", len(OPTIONS) * len(logits)
            torch_unlike, tied_unlike, kernels_unlike, doubtful = (sum(column) for column in zip(*found, strict=True))
            check.equal(
                f"{name}, torch", torch_unlike == 0, f"{torch_unlike} of {rows} unlike, {tied_unlike} with ties"
            )
            if may_run(check.device):
                check.equal(f"{name}, kernels", kernels_unlike == 0, f"{kernels_unlike} unlike, {doubtful} in doubt")


def _unlike(check: Check, logits: Tensor, distinct: Tensor, options: dict[str, Any]) -> tuple[int, int, int, int]:
    """Tokens unlike the CPU's: by torch, of distinct logits and of others; by kernels, sure ones; and the doubtful."""
    params, seeds, there = SamplingParams(**options), list(range(len(logits))), logits.to(check.device)
    with kernels(False):
        expected = sample(logits, params, seeds=seeds, step=3)
        other = sample(there, params, seeds=seeds, step=3).cpu() != expected
    compiled = params.compiled(len(logits), check.device)
    asked = RowOptions.of(compiled, len(logits), logits.shape[1], check.device)
    keys = counter_keys(torch.tensor(seeds, device=check.device), 3)[:, 0]
    drawn = draw_rows(there, asked, keys=keys) if asked is not None and may_run(check.device) else None
    by_torch = int((other & distinct).sum()), int((other & ~distinct).sum())
    if drawn is None:
        return *by_torch, 0, 0
    doubtful = drawn.doubtful.cpu()
    return *by_torch, int(((drawn.tokens.cpu() != expected) & ~doubtful).sum()), int(doubtful.sum())


def stream_as_transformers(check: Check) -> None:
    """Tokens and generator state of a draw without seeds against transformers' processors and multinomial here; once
    more with the kernels' doubt heard after the draw, as loops hear it."""
    vocab_size = sizes(check)[0][-1]
    logits = shapes_of_rows(8, vocab_size).to(check.device)
    for options in OPTIONS:
        warp = library.warpers(**options)
        params = SamplingParams(**options)
        sampler = Sampler(params, batch_size=len(logits), vocab_size=vocab_size, device=check.device)
        sampler.settles_late = True
        theirs = _three_draws(check, partial(library.draw, warp, logits))
        check.equal(f"stream, {options}", theirs == _three_draws(check, partial(sample, logits, params)))
        again = list[bool]()
        found = _three_draws(check, partial(_settled, sampler, logits, again))
        check.equal(f"stream, heard late, {options}", theirs == found, f"{sum(again)} of 3 draws were others'")


def _three_draws(check: Check, draw: Callable[[], Tensor]) -> tuple[list[list[int]], float]:
    """Three draws from one seed, and what the stream gives next."""
    torch.manual_seed(7)
    drawn = [draw().tolist() for _ in range(3)]
    return drawn, torch.rand(1, device=check.device).item()


def _settled(sampler: Sampler, logits: Tensor, again: list[bool]) -> Tensor:
    """A draw's tokens, or those that should have been drawn; ``again``: whether they were others."""
    drawn = sampler.select(logits, step=0)
    settled = sampler.settle()
    again.append(settled is not None)
    return drawn if settled is None else settled


def bad_rows(check: Check) -> None:
    """A row with NaN or +inf moves no neighbour's token and is flagged."""
    logits = shapes_of_rows(6, 5003).to(check.device)
    seeds = list(range(6))
    clean = sample(logits, SamplingParams(top_p=0.9), seeds=seeds)
    for value in (torch.nan, torch.inf):
        spoiled = logits.clone()
        spoiled[2, 40] = value
        options = RowOptions.of(SamplingParams(top_p=0.9).compiled(6, check.device), 6, 5003, check.device)
        if options is None or not may_run(check.device):
            check.add("left out", "no kernels here")
            return
        keys = counter_keys(torch.tensor(seeds, device=check.device), 0)[:, 0]
        drawn = draw_rows(spoiled, options, keys=keys)
        others = [0, 1, 3, 4, 5]
        same = drawn is not None and torch.equal(drawn.tokens[others], clean[others])
        flagged = drawn is not None and drawn.bad.tolist() == [False, False, True, False, False, False]
        check.equal(f"a row with {value}", same and flagged)


def kernels_and_twins(check: Check) -> None:
    """Each kernel against its twin at every vocabulary and number of rows."""
    if not may_run(check.device):
        check.add("left out", "no kernels here")
        return
    for vocab_size in sizes(check)[0]:
        for rows in sizes(check)[1]:
            logits = shapes_of_rows(rows, vocab_size).to(check.device)
            name = f"V={vocab_size}, B={rows}"
            _stats_twin(check, name, logits)
            _draw_twin(check, name, logits)
            _beam_twin(check, name, logits)
            _penalty_twin(check, name, logits)
    _accept_twin(check)


def _stats_twin(check: Check, name: str, logits: Tensor) -> None:
    temperature = torch.full((len(logits),), 0.7, dtype=torch.float64, device=check.device)
    found = row_stats.row_stats(logits, temperature, row_stats.empty_stats(logits))
    twin = row_stats.row_stats_twin(logits, temperature)
    off = float(((found.masses - twin.masses).abs() / twin.masses.clamp(min=1e-30)).max())
    check.equal(f"row_stats, {name}", torch.equal(found.maxima, twin.maxima) and off < 1e-5, f"masses off by {off:.1e}")


def _draw_twin(check: Check, name: str, logits: Tensor) -> None:
    """The drawn tokens beside those of the torch twin; rows in doubt do not count."""
    rows, vocab_size = logits.shape
    params = SamplingParams(temperature=0.9, top_k=40, top_p=0.9).compiled(rows, check.device)
    options = RowOptions.of(params, rows, vocab_size, check.device)
    keys = counter_keys(torch.arange(rows, device=check.device), 1)
    drawn = draw_rows(logits, options, keys=keys[:, 0]) if options is not None else None
    if options is None or drawn is None:
        raise RuntimeError("the kernels draw float32 rows with these options")
    noise = counter_exponential(keys, torch.arange(vocab_size, device=check.device))
    unlike = (drawn.tokens != decide_and_draw.draw_twin(logits, options, noise)) & ~drawn.doubtful
    check.equal(f"draw, {name}", not bool(unlike.any()), f"{int(drawn.doubtful.sum())} in doubt")


def _beam_twin(check: Check, name: str, logits: Tensor) -> None:
    """The best continuations beside those of the torch twin; items with ties do not count."""
    items = len(logits)
    ones = torch.ones(items, dtype=torch.float64, device=check.device)
    stats = row_stats.row_stats(logits, ones, row_stats.empty_stats(logits))
    scores = torch.zeros(items, 1, device=check.device)
    best, _, token, tied = beam_select.beam_select(logits, stats, scores, 8)
    expected, _, its = beam_select.beam_select_twin(logits, scores, 8)
    fine = tied == 0
    off = float((best - expected)[fine].abs().max()) if bool(fine.any()) else 0.0
    same = torch.equal(token[fine], its[fine]) and off < 1e-5
    check.equal(f"beam_select, {name}", same, f"off by {off:.1e}, {int(tied.sum())} tied")


def _penalty_twin(check: Check, name: str, logits: Tensor) -> None:
    rows = len(logits)
    ids = torch.stack([torch.randperm(logits.shape[1])[:500] for _ in range(rows)])
    used = torch.full((rows,), 444, dtype=torch.int32)
    factor = torch.linspace(0.8, 1.7, rows)
    expected = penalise.penalise_twin(logits.cpu(), ids, used, repetition=factor)
    device = check.device
    found = penalise.penalise(logits.clone(), ids.to(device), used.to(device), repetition=factor.to(device))
    check.equal(f"penalise, {name}", torch.equal(found.cpu(), expected))
    bias = torch.randn(rows, 500)
    bias[:, ::7] = -torch.inf
    expected = penalise.penalise_twin(logits.cpu(), ids, used, bias=bias)
    found = penalise.penalise(logits.clone(), ids.to(device), used.to(device), bias=bias.to(device))
    check.equal(f"penalise by a bias, {name}", torch.equal(found.cpu(), expected))
    seen = torch.cat([ids, ids[:, :90], ids.flip(1), ids, ids], dim=1)  # more than a program takes at once, repeated
    wide = factor.double()
    expected = penalise.penalise_seen_twin(logits.cpu(), seen, wide)
    found = penalise.penalise_seen(logits.clone(), seen.to(device), wide.to(device))
    check.equal(f"penalise_seen, {name}", torch.equal(found.cpu(), expected))


def _accept_twin(check: Check) -> None:
    """Acceptance of drafts beside the torch twin, on the CPU."""
    random = torch.Generator().manual_seed(0)
    chosen = torch.randint(0, 4, (64, 8), generator=random)
    drafts = torch.where(torch.rand(64, 7, generator=random) < 0.2, 9, chosen[:, :-1])
    case = (chosen, drafts, torch.randint(0, 8, (64,), generator=random))
    found = accept.accept(*(part.to(check.device) for part in case))
    check.equal("accept, 64 rows", torch.equal(found.cpu(), accept.accept_twin(*case)))


def no_wait_in_a_step(check: Check) -> None:
    """Draws under ``set_sync_debug_mode("error")`` once they have run: greedy and seeded, by kernels and by torch."""
    logits = workloads.peaked(8, sizes(check)[0][0], device=check.device)
    seeds = torch.arange(8, device=check.device)
    cases: tuple[tuple[str, dict[str, Any], bool], ...] = (
        ("torch's stream, top-k 50 + top-p 0.95, kernels, heard late", {"top_k": 50, "top_p": 0.95}, True),
        ("greedy", {"temperature": 0.0}, True),
        ("seeds, top-k 50 + top-p 0.95, kernels", {"top_k": 50, "top_p": 0.95}, True),
        ("seeds, top-p 0.9, kernels", {"top_p": 0.9}, True),
        ("seeds, top-p 0.9, torch", {"top_p": 0.9}, False),
    )
    for name, options, on in cases:
        with kernels(on):
            params = SamplingParams(**options)
            its = None if "stream" in name else seeds
            sampler = Sampler(params, batch_size=8, vocab_size=logits.shape[1], device=check.device, seeds=its)
        sampler.settles_late = True
        sampler.select(logits, step=0)
        sampler.settle()
        found = "no wait"
        if check.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            sampler.select(logits, step=1)
        except RuntimeError as error:
            found = f"waits: {str(error).splitlines()[0]}"
        finally:
            if check.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        check.add(name, found, "no wait", found == "no wait")
