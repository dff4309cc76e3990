"""Bad input to every operation: the error names the argument, and the row, before anything is drawn or written."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from afterlogits import decoding as d

Call = Callable[[Tensor, Tensor], Any]

KEYS = d.SynthIDKeys([1, 2], ngram_len=3)
MASK = torch.full((1, 1), -1, dtype=torch.int32)

# Every public function of logits, with options that are valid for two rows of four tokens.
OPERATIONS: dict[str, Call] = {
    "apply_adaptive_p": lambda x, i: d.apply_adaptive_p(x, 0.5),
    "apply_allowed_tokens": lambda x, i: d.apply_allowed_tokens(x, [0, 1]),
    "apply_bad_words": lambda x, i: d.apply_bad_words(x, i, [[1]]),
    "apply_begin_suppress_tokens": lambda x, i: d.apply_begin_suppress_tokens(x, i, [0], begin_index=1),
    "apply_dry": lambda x, i: d.apply_dry(x, i, 1.0),
    "apply_dynamic_temperature": lambda x, i: d.apply_dynamic_temperature(x, 1.0, spread=0.5),
    "apply_encoder_no_repeat_ngram": lambda x, i: d.apply_encoder_no_repeat_ngram(x, i, 2, encoder_token_ids=i),
    "apply_encoder_repetition_penalty": lambda x, i: d.apply_encoder_repetition_penalty(x, i, 1.5),
    "apply_epsilon": lambda x, i: d.apply_epsilon(x, 0.1),
    "apply_eta": lambda x, i: d.apply_eta(x, 0.1),
    "apply_exponential_decay": lambda x, i: d.apply_exponential_decay(x, i, 1.5, start=0, eos_token_id=1),
    "apply_finite": lambda x, i: d.apply_finite(x),
    "apply_forced_bos": lambda x, i: d.apply_forced_bos(x, i, 1),
    "apply_forced_eos": lambda x, i: d.apply_forced_eos(x, i, 1, max_length=4),
    "apply_frequency_penalty": lambda x, i: d.apply_frequency_penalty(x, i, 0.5),
    "apply_guidance": lambda x, i: d.apply_guidance(x, x, 2.0),
    "apply_logit_bias": lambda x, i: d.apply_logit_bias(x, {1: 1.0}),
    "apply_min_length": lambda x, i: d.apply_min_length(x, i, 9, eos_token_id=1),
    "apply_min_new_tokens": lambda x, i: d.apply_min_new_tokens(x, i, 9, prompt_length=1, eos_token_id=1),
    "apply_min_p": lambda x, i: d.apply_min_p(x, 0.1),
    "apply_mirostat": lambda x, i: d.apply_mirostat(x, 3.0),
    "apply_no_repeat_ngram": lambda x, i: d.apply_no_repeat_ngram(x, i, 2),
    "apply_prefix_allowed_tokens": lambda x, i: d.apply_prefix_allowed_tokens(x, i, lambda item, ids: [1]),
    "apply_presence_penalty": lambda x, i: d.apply_presence_penalty(x, i, 0.5),
    "apply_renormalize": lambda x, i: d.apply_renormalize(x),
    "apply_repetition_penalty": lambda x, i: d.apply_repetition_penalty(x, i, 1.5),
    "apply_sequence_bias": lambda x, i: d.apply_sequence_bias(x, i, {(1,): 1.0}),
    "apply_suppress_tokens": lambda x, i: d.apply_suppress_tokens(x, [1]),
    "apply_synthid": lambda x, i: d.apply_synthid(x, torch.zeros(2, dtype=torch.int64), keys=KEYS),
    "apply_temperature": lambda x, i: d.apply_temperature(x, 0.5),
    "apply_token_bitmask": lambda x, i: d.apply_token_bitmask(x, MASK),
    "apply_top_h": lambda x, i: d.apply_top_h(x, 0.5),
    "apply_top_k": lambda x, i: d.apply_top_k(x, 2),
    "apply_top_k_top_p_jointly": lambda x, i: d.apply_top_k_top_p_jointly(x, 2, 0.5),
    "apply_top_n_sigma": lambda x, i: d.apply_top_n_sigma(x, 1.0),
    "apply_top_p": lambda x, i: d.apply_top_p(x, 0.5),
    "apply_typical_p": lambda x, i: d.apply_typical_p(x, 0.5),
    "apply_watermark": lambda x, i: d.apply_watermark(x, i, 1.0, green_lists=d.GreenLists(4)),
    "apply_xtc": lambda x, i: d.apply_xtc(x, 0.1, probability=0.5),
    "sample": lambda x, i: d.sample(x, token_ids=i, repetition_penalty=1.5),
}
READ_HISTORY = [
    name
    for name in OPERATIONS
    if name in ("sample", "apply_dry", "apply_watermark", "apply_sequence_bias", "apply_bad_words")
    or any(part in name for part in ("ngram", "presence", "frequency", "length", "new_tokens", "forced", "decay"))
    or name in ("apply_repetition_penalty", "apply_begin_suppress_tokens", "apply_prefix_allowed_tokens")
]

# One value too many, for every option that takes one per row: the name in the error, and the call.
ROW_OPTIONS: list[tuple[str, Call]] = [
    ("target", lambda x, i: d.apply_adaptive_p(x, [0.5] * 3)),
    ("begin_index", lambda x, i: d.apply_begin_suppress_tokens(x, i, [0], begin_index=[1] * 3)),
    ("multiplier", lambda x, i: d.apply_dry(x, i, [1.0] * 3)),
    ("base", lambda x, i: d.apply_dry(x, i, 1.0, base=[2.0] * 3)),
    ("allowed_length", lambda x, i: d.apply_dry(x, i, 1.0, allowed_length=[2] * 3)),
    ("penalty_last_n", lambda x, i: d.apply_dry(x, i, 1.0, penalty_last_n=[2] * 3)),
    ("ngram_size", lambda x, i: d.apply_no_repeat_ngram(x, i, [2] * 3)),
    ("ngram_size", lambda x, i: d.apply_encoder_no_repeat_ngram(x, i, [2] * 3, encoder_token_ids=i)),
    ("penalty", lambda x, i: d.apply_encoder_repetition_penalty(x, i, [1.5] * 3)),
    ("factor", lambda x, i: d.apply_exponential_decay(x, i, [1.5] * 3, start=0, eos_token_id=1)),
    ("start", lambda x, i: d.apply_exponential_decay(x, i, 1.5, start=[0] * 3, eos_token_id=1)),
    (
        "prompt_length",
        lambda x, i: d.apply_exponential_decay(x, i, 1.5, start=0, eos_token_id=1, prompt_length=[0] * 3),
    ),
    ("max_length", lambda x, i: d.apply_forced_eos(x, i, 1, max_length=[4] * 3)),
    ("penalty", lambda x, i: d.apply_frequency_penalty(x, i, [0.5] * 3)),
    ("guidance_scale", lambda x, i: d.apply_guidance(x, x, [2.0] * 3)),
    ("min_length", lambda x, i: d.apply_min_length(x, i, [9] * 3, eos_token_id=1)),
    ("prompt_length", lambda x, i: d.apply_min_length(x, i, 9, eos_token_id=1, prompt_length=[0] * 3)),
    ("max_surprise", lambda x, i: d.apply_mirostat(x, [3.0] * 3)),
    ("penalty", lambda x, i: d.apply_presence_penalty(x, i, [0.5] * 3)),
    ("ignore_length", lambda x, i: d.apply_presence_penalty(x, i, 0.5, ignore_length=[0] * 3)),
    ("penalty", lambda x, i: d.apply_repetition_penalty(x, i, [1.5] * 3)),
    ("ignore_length", lambda x, i: d.apply_repetition_penalty(x, i, 1.5, ignore_length=[0] * 3)),
    ("bias", lambda x, i: d.apply_watermark(x, i, [1.0] * 3, green_lists=d.GreenLists(4))),
    ("temperature", lambda x, i: d.apply_temperature(x, [0.5] * 3)),
    ("top_k", lambda x, i: d.apply_top_k(x, [2] * 3)),
    ("top_p", lambda x, i: d.apply_top_p(x, [0.5] * 3)),
    ("min_p", lambda x, i: d.apply_min_p(x, [0.5] * 3)),
    ("target_surprise", lambda x, i: d.MirostatStep(batch_size=2, target_surprise=[5.0] * 3)),
    ("learning_rate", lambda x, i: d.MirostatStep(batch_size=2, learning_rate=[0.1] * 3)),
    ("decay", lambda x, i: d.AdaptivePStep(batch_size=2, target=0.5, decay=[0.9] * 3)),
    ("presence_penalty", lambda x, i: d.CountPenaltyStep(i, presence_penalty=[1.0] * 3, vocab_size=4)),
    ("frequency_penalty", lambda x, i: d.CountPenaltyStep(i, frequency_penalty=[1.0] * 3, vocab_size=4)),
]

# Out of range, in the second row.
OUT_OF_RANGE: list[tuple[str, Call]] = [
    ("target must be <= 1; got 2 in row 1", lambda x, i: d.apply_adaptive_p(x, [0.5, 2.0])),
    ("multiplier must be a finite number >= 0; got -1 in row 1", lambda x, i: d.apply_dry(x, i, [1.0, -1.0])),
    ("base must be a finite number >= 1; got 0.5 in row 1", lambda x, i: d.apply_dry(x, i, 1.0, base=[2.0, 0.5])),
    (
        "penalty_last_n must be an integer >= 0; got 1.5 in row 1",
        lambda x, i: d.apply_dry(x, i, 1.0, penalty_last_n=[1, 1.5]),
    ),
    ("ngram_size must be an integer >= 0; got -2 in row 1", lambda x, i: d.apply_no_repeat_ngram(x, i, [2, -2])),
    ("penalty must be a finite number > 0; got 0 in row 1", lambda x, i: d.apply_repetition_penalty(x, i, [1.5, 0.0])),
    ("penalty must be a finite number; got nan in row 1", lambda x, i: d.apply_presence_penalty(x, i, [1.5, math.nan])),
    (
        "penalty must be a finite number; got inf in row 1",
        lambda x, i: d.apply_frequency_penalty(x, i, [1.5, math.inf]),
    ),
    ("max_surprise must be a number; got nan in row 1", lambda x, i: d.apply_mirostat(x, [1.5, math.nan])),
    ("guidance_scale must be a finite number; got inf in row 1", lambda x, i: d.apply_guidance(x, x, [1.5, math.inf])),
    (
        "factor must be a finite number > 0; got -1 in row 1",
        lambda x, i: d.apply_exponential_decay(x, i, [1.5, -1.0], start=0, eos_token_id=1),
    ),
    (
        "min_length must be an integer >= 0; got -1 in row 1",
        lambda x, i: d.apply_min_length(x, i, [9, -1], eos_token_id=1),
    ),
    ("eos_token_id must be in [0, 4); got 4 in row 1", lambda x, i: d.apply_forced_eos(x, i, [[1], [4]], max_length=4)),
    (
        "target_surprise must be > 0; got 0 in row 1",
        lambda x, i: d.MirostatStep(batch_size=2, target_surprise=[5.0, 0.0]),
    ),
    (
        "decay must be in [0, 0.99]; got 1 in row 1",
        lambda x, i: d.AdaptivePStep(batch_size=2, target=0.5, decay=[0.9, 1.0]),
    ),
]


# What is no token id, no bias, no mask: the error, and the call.
NOT_WHAT_IT_SHOULD_BE: list[tuple[type[Exception], str, Call]] = [
    (
        TypeError,
        "suppress_tokens must hold token ids, which are ints; got 1.5",
        lambda x, i: d.apply_suppress_tokens(x, [1.5]),
    ),
    (
        TypeError,
        "suppress_tokens must be a token id or a list of them; got 'ab'",
        lambda x, i: d.apply_suppress_tokens(x, "ab"),
    ),
    (
        TypeError,
        "allowed_token_ids must be a token id or a list of them; got None",
        lambda x, i: d.apply_allowed_tokens(x, None),
    ),
    (
        TypeError,
        "eos_token_id must be a token id or a list of them; got 'a'",
        lambda x, i: d.apply_min_length(x, i, 9, eos_token_id=["a"]),
    ),
    (TypeError, "bias must hold token ids, which are ints; got 0.5", lambda x, i: d.apply_logit_bias(x, {0.5: 1.0})),
    (TypeError, "bias must hold numbers as biases; got nan", lambda x, i: d.apply_logit_bias(x, {0: math.nan})),
    (TypeError, "bias must hold numbers as biases; got 'a'", lambda x, i: d.apply_logit_bias(x, {0: "a"})),
    (
        TypeError,
        "bias must be {token: bias}, one such mapping per row, or a tensor; got 5",
        lambda x, i: d.apply_logit_bias(x, 5),
    ),
    (
        TypeError,
        "logit_bias must hold token ids, which are ints; got 0.5",
        lambda x, i: d.sample(x, logit_bias={0.5: 1.0}),
    ),
    (TypeError, "sequence_bias must be a mapping, or one per row; got 5", lambda x, i: d.apply_sequence_bias(x, i, 5)),
    (
        TypeError,
        "sequence_bias must hold token ids, which are ints; got 1.5",
        lambda x, i: d.apply_sequence_bias(x, i, {(1.5,): 1.0}),
    ),
    (TypeError, "bad_words_ids must be a list of lists of token ids; got 5", lambda x, i: d.apply_bad_words(x, i, 5)),
    (
        TypeError,
        "bad_words_ids must be a list of lists of token ids; got 'a' in it",
        lambda x, i: d.apply_bad_words(x, i, ["a"]),
    ),
    (
        TypeError,
        "sequence_breakers must hold token ids, which are ints; got 1.5",
        lambda x, i: d.apply_dry(x, i, 1.0, sequence_breakers=[1.5]),
    ),
    (
        ValueError,
        "min_new_tokens must be an integer >= 0; got -1",
        lambda x, i: d.apply_min_new_tokens(x, i, -1, prompt_length=0, eos_token_id=1),
    ),
    (TypeError, "bitmask must be an int32 tensor; got list", lambda x, i: d.apply_token_bitmask(x, [[1], [1]])),
    (
        ValueError,
        "prefix_allowed_tokens_fn must return ids in [0, 4); got [9] in row 0",
        lambda x, i: d.apply_prefix_allowed_tokens(x, i, lambda item, ids: [9]),
    ),
    (
        ValueError,
        "green_lists must be of at most 4 tokens; got 9",
        lambda x, i: d.apply_watermark(x, i, 1.0, green_lists=d.GreenLists(9)),
    ),
    (ValueError, "vocab_size must be >= 1; got 0", lambda x, i: d.GreenLists(0)),
    (
        ValueError,
        "token_ids must hold at least one text; got none",
        lambda x, i: d.detect_watermark(i[:0], green_lists=d.GreenLists(4)),
    ),
    (
        ValueError,
        "context_hash must be an int64 tensor of shape [2], one per row; got torch.int64 [3]",
        lambda x, i: d.apply_synthid(x, torch.zeros(3).long(), keys=KEYS),
    ),
    (ValueError, "count must be >= 1; got 0", lambda x, i: d.top_logprobs(x, 0)),
    (
        ValueError,
        "target must be a number or of shape [2], one per row; got [3]",
        lambda x, i: d.AdaptivePStep(batch_size=2, target=[0.5] * 3),
    ),
    (
        ValueError,
        "mirostat_tau must be a number or of shape [2], one per row; got [3]",
        lambda x, i: d.sample(x, mirostat_tau=[3.0] * 3),
    ),
    (
        ValueError,
        "exponential_decay_length_penalty's start must be a number or of shape [2], one per row; got [3]",
        lambda x, i: d.sample(x, token_ids=i, eos_token_id=1, exponential_decay_length_penalty=([1] * 3, 1.1)),
    ),
]


def test_every_function_of_logits_is_in_the_table() -> None:
    """A new operation cannot be forgotten here."""
    public = {name for name in d.__all__ if name.startswith("apply_") and name != "apply_chain"}
    assert public <= OPERATIONS.keys()


def _refuses(call: Call, logits: Any, token_ids: Any, error: type[Exception], text: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(error, match=f"^{re.escape(text)}"):
        call(logits, token_ids)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [*OPERATIONS])
def test_logits_must_be_a_floating_batch(name: str) -> None:
    """Whole numbers, a list, a single row, three dimensions and no vocabulary are refused."""
    call, ids = OPERATIONS[name], torch.zeros(2, 3, dtype=torch.int64)
    call(torch.zeros(2, 4), ids)
    _refuses(call, torch.zeros(2, 4, dtype=torch.int64), ids, TypeError, "logits must be a floating tensor")
    _refuses(call, [[0.0] * 4] * 2, ids, TypeError, "logits must be a torch.Tensor; got list")
    for shape in ([4], [1, 2, 4], [2, 0]):
        _refuses(call, torch.zeros(shape), ids, ValueError, "logits must be of shape [B, V] with V >= 1; got")


@pytest.mark.parametrize("name", READ_HISTORY)
def test_a_history_must_be_integers_one_row_each(name: str) -> None:
    """Numbers with a point, one dimension, a row too many and negative ids are refused."""
    call, logits = OPERATIONS[name], torch.zeros(2, 4)
    _refuses(call, logits, torch.zeros(2, 3), ValueError, "token_ids must be an int64 or int32 tensor of shape [B, T]")
    _refuses(call, logits, torch.zeros(3).long(), ValueError, "token_ids must be an int64 or int32 tensor of shape")
    _refuses(
        call, logits, torch.zeros(3, 3).long(), ValueError, "token_ids must have one row per row of logits, 2; got 3"
    )
    _refuses(call, logits, torch.tensor([[0], [-1]]), ValueError, "token_ids must be >= 0; got -1 in row 1")


@pytest.mark.parametrize(("option", "call"), ROW_OPTIONS)
def test_an_option_per_row_must_have_a_value_for_every_row(option: str, call: Call) -> None:
    """Three values for two rows, as a list."""
    ids = torch.zeros(2, 3, dtype=torch.int64)
    text = f"{option} must be a number or of shape [2], one per row; got [3]"
    _refuses(call, torch.zeros(2, 4), ids, ValueError, text)


@pytest.mark.parametrize(("text", "call"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named_with_its_row(text: str, call: Call) -> None:
    """The option, what it must be, and the first row that is wrong."""
    _refuses(call, torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64), ValueError, text)


@pytest.mark.parametrize(("error", "text", "call"), NOT_WHAT_IT_SHOULD_BE)
def test_what_is_no_token_id_bias_or_mask_is_named(error: type[Exception], text: str, call: Call) -> None:
    """The argument, what it must be and the value."""
    _refuses(call, torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64), error, text)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "sample"])
def test_a_gradient_flows_through(name: str) -> None:
    """Of many rows, which operations on the CPU take in pieces."""
    logits = torch.randn(600, 200, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.arange(100).expand(600, -1).clone()
    call = OPERATIONS[name] if name != "apply_synthid" else lambda x, i: d.apply_synthid(x, i[:, 0], keys=KEYS)
    if name in ("apply_token_bitmask", "apply_forced_bos", "apply_watermark"):
        logits, ids = logits[:2, :4], ids[:2, :4].clamp(max=3)
    assert call(logits, ids).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "sample"])
def test_types_shapes_and_inputs_are_kept(name: str, dtype: torch.dtype) -> None:
    """The result has the type and shape of the logits, which stay as they were; a batch without rows stays empty."""
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0], [3.0, 1.0, -2.0, 0.25]], dtype=dtype)
    ids, before = torch.tensor([[0, 1, 0], [2, 2, 2]]), logits.clone()
    result = OPERATIONS[name](logits, ids)
    assert result.dtype == dtype and result.shape == logits.shape
    assert torch.equal(logits, before) and result.data_ptr() != logits.data_ptr()
    if name != "apply_synthid":  # its two contexts are the call's own
        assert OPERATIONS[name](logits[:0], ids[:0]).shape == (0, 4)


def test_a_batch_without_rows_takes_lists_without_entries() -> None:
    logits, ids = torch.zeros(0, 4), torch.zeros(0, 3, dtype=torch.int64)
    assert d.apply_exponential_decay(logits, ids, [], start=0, eos_token_id=1).shape == (0, 4)
    assert d.apply_exponential_decay(logits, ids, 1.5, start=[], eos_token_id=1).shape == (0, 4)
