"""The long run of the decoding tests (``make fuzz``): prints what was compared, what differed and what fell back.

Everything is drawn from ``--seed``, so a run repeats exactly. Ends with status 1 if anything differed.
"""

import argparse
import random
import sys
import time

import torch

from afterlogits.benchmarks.workloads import flat, peaked
from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.kernels import row_blocks, threshold_masks
from afterlogits.decoding.kernels.counter_noise import counter_exponential, counter_keys
from tests.builders.logits_cases import LARGE_SIZES
from tests.decoding.processors.history_cases import OPERATIONS, compare_step
from tests.decoding.processors.history_cases import compare_case as compare_operation
from tests.decoding.sampling.chi_square import SHAPES, chi_square_seeded
from tests.oracles.race import library_draw
from tests.programs.draw_parity import Tally, compare_draw, processors_for
from tests.programs.filter_parity import compare_case

VOCAB_SIZE = 151_936
SETTINGS = ({"top_k": 50, "top_p": 0.95}, {"top_p": 0.9}, {"min_p": 0.05})


def filters(cases: int, seed: int) -> int:
    """Every filter against its processor on adversarial batches, every other time by the short ways of large rows."""
    compared, differing, least, piece = 0, 0, threshold_masks._SMALL, row_blocks._PIECE
    for i in range(cases):
        rng = random.Random(seed * 1_000_003 + i)
        large = i % 200 == 0
        threshold_masks._SMALL, row_blocks._PIECE = (1, 1) if i % 2 else (least, piece)
        try:
            compared += compare_case(
                rng, vocab_size=rng.choice(LARGE_SIZES) if large else None, rows=1 if large else None
            )
        except AssertionError as error:
            differing += 1
            print(f"  case {i}: {str(error)[:200]}")
    threshold_masks._SMALL, row_blocks._PIECE = least, piece
    print(f"filters: {cases} drawn cases, {compared} comparisons with transformers' processors, {differing} differing")
    return differing


def histories(cases: int, seed: int) -> int:
    """Every operation on the history against its processor, and its step against it along random walks."""
    compared, differing = {"cases": 0, "walks": 0}, 0
    for name, operation in OPERATIONS.items():
        drawn = max(cases // 20, 1) if name == "watermark" else cases  # transformers permutes a million numbers a case
        runs = [("cases", compare_operation)] if operation.library else []
        runs += [("walks", compare_step)] if operation.step else []
        for what, compare in runs:
            for i in range(drawn):
                try:
                    compare(name, seed * 1_000_003 + i)
                except AssertionError as error:
                    differing += 1
                    print(f"  {name}, {what[:-1]} {i}: {str(error)[:200]}")
            compared[what] += drawn
    print(
        f"history: {compared['cases']} drawn cases of {len(OPERATIONS)} operations against transformers' processors, "
        f"{compared['walks']} walks of steps against functions, {differing} differing"
    )
    return differing


def draws(cases: int, seed: int) -> int:
    """Sampling calls on adversarial batches: tokens and generator state."""
    tally, differing = Tally(), 0
    for i in range(cases):
        rng = random.Random(seed * 1_000_003 + i)
        try:
            compare_draw(rng, tally, vocab_size=rng.choice(LARGE_SIZES) if i % 200 == 0 else None)
        except AssertionError as error:
            differing += 1
            print(f"  case {i}: {str(error)[:300]}")
    print(f"draws on adversarial logits: {tally}, {differing} calls differing")
    return differing


def large_rows(rows: int, seed: int) -> int:
    """Rows of V = 151,936 shaped like a language model's, against transformers' own draw and generator state."""
    failed = 0
    for settings in SETTINGS:
        chain = processors_for(0.8, settings.get("top_k", 0), settings.get("top_p", 1.0), settings.get("min_p"), 1)
        ours, theirs = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        tally, differing, states = Tally(), 0, 0
        for start in range(0, rows, 16):
            logits = peaked(min(16, rows - start), seed=seed + start)
            if start % 64 == 48:  # every fourth batch as a 16-bit model gives it: hundreds of equal logits
                logits = logits.bfloat16()
            sampler = Sampler(
                SamplingParams(temperature=0.8, **settings),
                batch_size=len(logits),
                vocab_size=VOCAB_SIZE,
                device="cpu",
                generator=ours,
            )
            tokens = sampler.select(logits)
            differing += int((tokens != library_draw(chain, logits, theirs)).sum())
            states += not torch.equal(ours.get_state(), theirs.get_state())
            tally.add(sampler, len(logits))
        print(f"stream at V={VOCAB_SIZE}, {settings}: {tally}; {differing} tokens and {states} states differing")
        failed += differing + states
    return failed


def fallbacks(rows: int, seed: int) -> None:
    """How often the fast path cannot prove a seeded draw, by the shape of the logits."""
    for name, shape in (("peaked", peaked), ("flat", flat)):
        for dtype in (torch.float32, torch.bfloat16):
            for settings in SETTINGS:
                tally = Tally()
                for start in range(0, rows, 16):
                    logits = shape(16, seed=seed + start, dtype=dtype)
                    sampler = Sampler(
                        SamplingParams(temperature=0.8, **settings),
                        batch_size=16,
                        vocab_size=VOCAB_SIZE,
                        device="cpu",
                        seeds=list(range(16)),
                    )
                    sampler.select(logits, step=start)
                    tally.add(sampler, 16)
                print(f"fallbacks, {name} {str(dtype)[6:]}, {settings}: {tally}")


def statistics(draws: int) -> int:
    """Seeded draws follow the distribution: a false failure once in 10^6 per shape."""
    failed = 0
    for shape in SHAPES:
        p = chi_square_seeded(shape, draws)
        print(f"chi-square of {draws} seeded draws, {shape}: p = {p:.4f}")
        failed += p < 1e-6
    return failed


def rare_tokens(draws: int) -> int:
    """300,000 tokens of probability 9e-9 each beside one large one: drawn as often as they should be.

    Their sum is 2.7e-3, so the count is Poisson with mean 0.0027 * draws; the bounds are 5 deviations, a false failure
    once in 10^6. Noise of 24 bits would draw them about exp(-6) as often.
    """
    tail = torch.arange(1, 300_001)
    hits = 0
    for seed in range(draws):
        keys = counter_keys(torch.tensor([seed]), 1)
        head = counter_exponential(keys, torch.tensor([0]))[0, 0] / (1 - 2.7e-3)
        hits += bool(counter_exponential(keys, tail).min() / 9e-9 < head)
    mean = 2.7e-3 * draws
    print(f"rare tokens: {hits} hits in {draws} draws, expected {mean:.1f}")
    return int(abs(hits - mean) > 5 * mean**0.5 + 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="drawn cases for the filters")
    parser.add_argument("--histories", type=int, default=1_500, help="drawn cases for each operation on the history")
    parser.add_argument("--draws", type=int, default=4_000, help="drawn sampling calls")
    parser.add_argument("--rows", type=int, default=2_000, help="rows of the large vocabulary per setting")
    parser.add_argument("--samples", type=int, default=5_000_000, help="seeded draws per chi-square")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    failed = filters(options.cases, options.seed) + draws(options.draws, options.seed)
    failed += histories(options.histories, options.seed)
    failed += large_rows(options.rows, options.seed)
    fallbacks(min(options.rows, 256), options.seed)
    failed += statistics(options.samples) + rare_tokens(max(options.samples // 1_000, 100))
    print(f"{failed} failures, {time.monotonic() - begun:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
