"""The KGW and SynthID watermarks: lists, detector and states of transformers, an effect that is found, errors."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WatermarkDetector
from transformers.generation import logits_process as library

from afterlogits.decoding import GreenLists, SynthIDKeys, SynthIDStep, WatermarkStep, apply_watermark, detect_watermark
from tests.builders.versions import rule_of_five

SCHEMES = ("lefthash", "selfhash")
FIELDS = ("num_tokens_scored", "num_green_tokens", "green_fraction", "z_score", "p_value", "prediction", "confidence")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# golden


def test_a_green_list_is_remembered_and_the_oldest_forgotten() -> None:
    """With room for two lists, the third seed drops the first; asking again draws the same list."""
    lists = GreenLists(50, greenlist_ratio=0.2, cache_size=2)
    first = lists.green(3)
    assert len(first) == 10 and lists.green(3) is first
    lists.green(4)
    lists.green(5)
    assert lists.green(3) is not first
    assert torch.equal(lists.green(3), first)


def test_too_short_a_history_is_left_alone() -> None:
    """Two tokens of context are needed and there is one."""
    lists = GreenLists(5, context_width=2)
    logits = torch.zeros(1, 5)
    assert torch.equal(apply_watermark(logits, torch.tensor([[1]]), 2.0, green_lists=lists), logits)


# parity


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equals_the_librarys_processor(scheme: str) -> None:
    """Ties included: logits rounded to whole numbers, in three types; the step follows the function."""
    for seed in range(6):
        width, dtype = 1 + seed % 3, (torch.float32, torch.float16, torch.bfloat16)[seed % 3]
        logits = (torch.randn(3, 60 + seed, generator=_generator(seed)) * 2).to(dtype)
        logits = logits.round() if seed % 2 else logits
        ids = torch.randint(0, 60, (3, 5), generator=_generator(seed))
        processor = library.WatermarkLogitsProcessor(60 + seed, "cpu", 0.3, 1.7, 15485863, scheme, width)
        lists = GreenLists(60 + seed, greenlist_ratio=0.3, seeding_scheme=scheme, context_width=width)
        expected = processor(ids, logits)
        assert torch.equal(apply_watermark(logits, ids, [1.7] * 3, green_lists=lists), expected)
        step = WatermarkStep(ids[:, :2], 1.7, green_lists=lists)
        for token in ids[:, 2:].T:
            step.advance(token)
        step.select_rows(torch.tensor([2, 0]))
        assert torch.equal(step.apply(logits[[2, 0]].clone()), expected[[2, 0]])


@rule_of_five
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("once", [False, True])
def test_equals_the_librarys_detector(scheme: str, once: bool) -> None:
    """Every field, with and without a leading BOS, counting repeated n-grams or not."""
    for width in (1, 3):
        settings = {"greenlist_ratio": 0.25, "seeding_scheme": scheme, "context_width": width}
        config = SimpleNamespace(bos_token_id=3, is_encoder_decoder=False, vocab_size=40)
        theirs = WatermarkDetector(
            config, "cpu", {**settings, "bias": 2.0, "hashing_key": 15485863}, ignore_repeated_ngrams=once
        )
        ids = torch.randint(4, 9, (3, 30), generator=_generator(width))
        ids[:, 0] = 3 if width == 1 else 4
        expected = theirs(ids, return_dict=True)
        ours = detect_watermark(
            ids, green_lists=GreenLists(40, **settings), bos_token_id=3, ignore_repeated_ngrams=once
        )
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(ours, field).numpy(), getattr(expected, field), err_msg=field)


@pytest.mark.parametrize("skip", [False, True])
def test_synthid_equals_the_librarys_over_many_steps(skip: bool) -> None:
    """Contexts that repeat, a history short enough to forget, masked logits, three types, tables of any size."""
    for seed in range(6):
        dtype = (torch.float32, torch.float16, torch.bfloat16)[seed % 3]
        size, ngram_len, remembered = (64, 1000, 65536)[seed % 3], 2 + seed % 4, (3, 1024)[seed % 2]
        numbers = [11, 7, 2**40 + seed]
        theirs = library.SynthIDTextWatermarkLogitsProcessor(
            ngram_len, numbers, size, seed, remembered, torch.device("cpu"), skip
        )
        keys = SynthIDKeys(numbers, ngram_len=ngram_len, sampling_table_size=size, sampling_table_seed=seed)
        ours = SynthIDStep(keys, batch_size=2, context_history_size=remembered, skip_first_ngram_calls=skip)
        ids = torch.randint(0, 5, (2, 4), generator=_generator(seed))
        for step in range(14):
            logits = (torch.randn(2, 50, generator=_generator(100 * seed + step)) * 3).to(dtype)
            logits[:, :4] = -torch.inf
            assert torch.equal(ours.apply(logits.clone()), theirs(ids, logits)), (seed, step)
            token = torch.randint(0, 2, (2,), generator=_generator(step))
            ours.advance(token)
            ids = torch.cat([ids, token[:, None]], dim=1)


def test_synthid_rows_move() -> None:
    """A step whose rows are exchanged goes on as one that had them so from the start."""
    keys = SynthIDKeys([1, 2], ngram_len=3)
    one, other = SynthIDStep(keys, batch_size=2), SynthIDStep(keys, batch_size=2)
    logits = torch.randn(2, 20, generator=_generator(0))
    tokens = torch.tensor([4, 5])
    for _ in range(3):
        assert torch.equal(one.apply(logits), other.apply(logits.flip(0)).flip(0))
        one.advance(tokens)
        other.advance(tokens.flip(0))
    one.select_rows(torch.tensor([1, 0]))
    assert torch.equal(one.apply(logits), other.apply(logits))


# statistics


def test_a_watermarked_text_is_found_and_another_is_not() -> None:
    """200 tokens drawn with a bias of 4 give z > 5; without a bias |z| < 4, which chance exceeds once in 16,000."""
    lists = GreenLists(100)
    for bias, found in ((4.0, True), (0.0, False)):
        ids = torch.zeros(1, 1, dtype=torch.int64)
        generator = _generator(5)
        for _ in range(200):
            probs = apply_watermark(torch.zeros(1, 100), ids, bias, green_lists=lists).softmax(-1)
            ids = torch.cat([ids, torch.multinomial(probs, 1, generator=generator)], dim=1)
        z_score = float(detect_watermark(ids, green_lists=lists).z_score)
        assert z_score > 5 if found else abs(z_score) < 4


def test_one_token_after_the_context_is_enough_to_be_scored() -> None:
    """The shortest text: a context of one token and the token it is the context of."""
    lists = GreenLists(50)
    green = int(lists.green(lists.seeds(torch.tensor([[7]]))[0])[0])
    found = detect_watermark(torch.tensor([[7, green]]), green_lists=lists)
    assert (found.num_tokens_scored.tolist(), found.num_green_tokens.tolist()) == ([1.0], [1.0])


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GreenLists(5, seeding_scheme="x"), "seeding_scheme must be 'lefthash' or 'selfhash'; got 'x'"),
        (lambda: GreenLists(5, greenlist_ratio=1.0), "greenlist_ratio must be in (0, 1); got 1.0"),
        (lambda: GreenLists(5, context_width=0), "context_width must be >= 1; got 0"),
        (
            lambda: apply_watermark(torch.zeros(1, 5), torch.zeros(1, 1).long(), torch.inf, green_lists=GreenLists(5)),
            "bias must be a finite number; got inf",
        ),
        (
            lambda: detect_watermark(torch.tensor([[3, 1], [1, 1]]), green_lists=GreenLists(5), bos_token_id=3),
            "token_ids must start with the BOS token in every row or in none; row 1 does not",
        ),
        (
            lambda: detect_watermark(torch.tensor([[3, 1]]), green_lists=GreenLists(5), bos_token_id=3),
            "token_ids must have at least 2 tokens after BOS, one more than context_width; got 1",
        ),
        (lambda: SynthIDKeys([1], ngram_len=1), "ngram_len must be >= 2; got 1"),
        (lambda: SynthIDKeys([]), "keys must hold at least one key; got none"),
        (lambda: SynthIDKeys([1], sampling_table_size=0), "sampling_table_size must be >= 1; got 0"),
        (
            lambda: SynthIDStep(SynthIDKeys([1]), batch_size=1, context_history_size=0),
            "context_history_size must be >= 1; got 0",
        ),
    ],
)
def test_bad_options_are_refused(call: Any, message: str) -> None:
    """The argument, what it must be, what it is."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
