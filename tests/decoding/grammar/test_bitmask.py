"""Packed masks on logits: every way of writing them gives what the bits say, one token at a time."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding import apply_token_bitmask
from afterlogits.decoding.grammar.bitmask import mask_tokens_


def packed(allowed: list[list[bool]]) -> Tensor:
    words = (len(allowed[0]) + 31) // 32
    rows = [
        [sum(row[32 * w + j] << j for j in range(32) if 32 * w + j < len(row)) for w in range(words)] for row in allowed
    ]
    return torch.tensor(rows, dtype=torch.int64).to(torch.int32)


def expected(logits: Tensor, allowed: list[list[bool]]) -> Tensor:
    return logits.masked_fill(~torch.tensor(allowed), -math.inf)


def test_golden() -> None:
    """0b1010 allows tokens 1 and 3."""
    logits = torch.tensor([[5.0, 1.0, 2.0, 4.0]])
    assert apply_token_bitmask(logits, torch.tensor([[0b1010]], dtype=torch.int32)).tolist() == [
        [-math.inf, 1.0, -math.inf, 4.0]
    ]
    assert logits.tolist() == [[5.0, 1.0, 2.0, 4.0]]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_bits_say_what_stays(seed: int) -> None:
    """Vocabularies of any width, rows with few, many, no and all tokens allowed, in clusters and alone, every dtype."""
    rng = random.Random(seed)
    rows, vocab = rng.randint(1, 4), rng.choice([1, 7, 31, 32, 33, 95, 256, 1000, 4099])
    allowed = []
    for _ in range(rows):
        share, run = rng.choice([0.0, 0.001, 0.1, 0.5, 0.97, 0.999, 1.0]), rng.choice([1, 40, 500])
        row: list[bool] = []
        while len(row) < vocab:
            row += [rng.random() < share] * run
        allowed.append(row[:vocab])
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16])
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)).to(dtype)
    assert torch.equal(apply_token_bitmask(logits, packed(allowed)), expected(logits, allowed))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97, 1.0])
def test_every_number_that_a_logit_can_be(share: float) -> None:
    """Infinities, NaN of both signs, zeros of both signs, the largest and the smallest: kept to the bit or -inf."""
    special = [math.inf, -math.inf, math.nan, 0.0, -0.0, 3.4e38, -3.4e38, 1e-45, -1e-45, 1.0]
    logits = torch.tensor([special * 60])
    logits[0, 5::10].neg_()
    negative = torch.tensor([-1], dtype=torch.int32).view(torch.float32)  # NaN of negative sign
    logits[0, 1::50] = negative
    rng = random.Random(7)
    allowed = [[rng.random() < share for _ in range(600)]]
    found = apply_token_bitmask(logits, packed(allowed)).view(torch.int32)
    assert torch.equal(found, expected(logits, allowed).view(torch.int32))


@pytest.mark.parametrize("vocab", [640, 653])
@pytest.mark.parametrize("forbidden", [[5], [0, 33, 200, 639], [96, 97, 98, 127], [*range(256, 288), 600]])
def test_few_forbidden_tokens_are_written_one_by_one(vocab: int, forbidden: list[int]) -> None:
    """In the first word and the last, several in a word, a whole word."""
    allowed = [[token not in forbidden for token in range(vocab)]]
    logits = torch.randn(1, vocab)
    assert torch.equal(apply_token_bitmask(logits, packed(allowed)), expected(logits, allowed))


@pytest.mark.parametrize("rows", [None, [2, 0]])
@pytest.mark.parametrize("run", [1, 64, 700])
@pytest.mark.parametrize("share", [0.03, 0.2, 0.75, 0.9, 0.97, 0.99, 0.999, 0.9999, 1.0])
def test_large_vocabularies(share: float, run: int, rows: list[int] | None) -> None:
    """Every way of finding what is forbidden, all rows at once and a row alone, with a rest of a word or without."""
    for vocab in (151_936, 151_930):
        count = 3 if rows is None else len(rows)
        generator = torch.Generator().manual_seed(run)
        drawn = torch.rand(count, 151_936 // run + 1, generator=generator).repeat_interleave(run, 1) < share
        padded = torch.zeros(count, 151_936, dtype=torch.bool)
        padded[:, :vocab] = drawn[:, :vocab]
        bits = (padded.view(count, -1, 32).long() << torch.arange(32)).sum(-1).to(torch.int32)
        logits = torch.randn(3, vocab, generator=generator)
        kept = torch.ones(3, vocab, dtype=torch.bool)
        kept[[0, 1, 2] if rows is None else rows] = padded[:, :vocab]
        wanted = logits.masked_fill(~kept, -math.inf)
        assert torch.equal(mask_tokens_(logits, bits, rows=rows), wanted)


def test_bits_past_the_vocabulary_are_ignored() -> None:
    """34 tokens, the bits of 64."""
    logits = torch.zeros(1, 34)
    none = torch.tensor([[0, -4]], dtype=torch.int32)
    assert apply_token_bitmask(logits, none).isinf().all()
    every = torch.tensor([[-1, 3]], dtype=torch.int32)
    assert torch.equal(apply_token_bitmask(logits, every), logits)


def test_rows_are_those_that_are_named() -> None:
    """Two masks for rows 2 and 0; row 1 is left alone."""
    logits = torch.zeros(3, 40)
    bits = torch.tensor([[0, -1], [-1, 0]], dtype=torch.int32)
    found = mask_tokens_(logits.clone(), bits, rows=[2, 0])
    assert found[2, :32].isinf().all()
    assert not found[2, 32:].isinf().any()
    assert found[0, 32:].isinf().all()
    assert torch.equal(found[1], logits[1])
    doubles = mask_tokens_(logits.double(), bits, rows=[2, 0])
    assert torch.equal(doubles, found.double())


def test_one_mask_may_serve_every_row() -> None:
    """[W] and [1, W]."""
    logits = torch.randn(3, 40)
    bits = torch.tensor([5, 1], dtype=torch.int32)
    assert torch.equal(apply_token_bitmask(logits, bits), apply_token_bitmask(logits, bits.expand(3, 2).contiguous()))
    assert torch.equal(apply_token_bitmask(logits, bits[None]), apply_token_bitmask(logits, bits))
