"""What a request declares: the steps before the filters in transformers' order, those after them, and their errors."""

import copy
import pickle
import random
import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.generation import logits_process as library

from afterlogits.decoding import (
    DEFAULT_HISTORY_ORDER,
    AdaptivePStep,
    HistorySteps,
    MirostatStep,
    Sampler,
    SamplingParams,
    apply_temperature,
    apply_top_k,
    sample,
)
from tests.builders.versions import rule_of_five

INF = float("inf")


def _steps(ids: list[list[int]], vocab_size: int = 4, **options: Any) -> HistorySteps:
    lengths = {name: options.pop(name) for name in ("prompt_length", "ignore_length") if name in options}
    return HistorySteps(SamplingParams(**options), torch.tensor(ids), vocab_size=vocab_size, **lengths)


# golden


def test_presence_and_frequency_count_generated_tokens_only() -> None:
    """vLLM's rule: the prompt 0 0 counts for nothing; after 1 and 1, token 1 loses 2 * 1 and 0.5."""
    steps = _steps([[0, 0]], frequency_penalty=1.0, presence_penalty=0.5)
    assert steps.apply(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]
    for _ in range(2):
        steps.advance(torch.tensor([1]))
    assert steps.apply(torch.zeros(1, 4)).tolist() == [[0, -2.5, 0, 0]]
    later = _steps([[0, 0, 1, 1]], frequency_penalty=1.0, presence_penalty=0.5, prompt_length=2)
    assert later.apply(torch.zeros(1, 4)).tolist() == [[0, -2.5, 0, 0]]
    one = _steps([[0, 0, 1, 1]], frequency_penalty=1.0, prompt_length=2)
    assert one.apply(torch.zeros(1, 4)).tolist() == [[0, -2, 0, 0]]


def test_the_repetition_penalty_counts_the_prompt_without_its_padding() -> None:
    """transformers 5.23: 3 pads the first row, which is shorter by one; generated pads count again."""
    steps = _steps([[3, 1], [3, 1]], repetition_penalty=2.0, ignore_length=[1, 0])
    assert steps.apply(torch.ones(2, 4)).tolist() == [[1, 0.5, 1, 1], [1, 0.5, 1, 0.5]]
    steps.advance(torch.tensor([3, 0]))
    assert steps.apply(torch.ones(2, 4)).tolist() == [[1, 0.5, 1, 0.5], [0.5, 0.5, 1, 0.5]]


def test_padding_is_never_counted_by_presence_even_inside_the_counted_part() -> None:
    """With prompt_length 0 everything counts but the padding."""
    steps = _steps([[3, 1]], presence_penalty=1.0, prompt_length=0, ignore_length=1)
    assert steps.apply(torch.zeros(1, 4)).tolist() == [[0, -1, 0, 0]]


def test_dry_looks_at_its_window_alone() -> None:
    """Within the last 5 tokens, 1 2 follows 1 2 3: token 3 extends 2, 2.0 ** 0 = 1. Within 3 there is no repetition."""
    ids = [[1, 2, 3, 1, 2]]
    for window, expected in ((None, -1.0), (5, -1.0), (3, 0.0)):
        steps = _steps(ids, dry_multiplier=1.0, dry_base=2.0, dry_penalty_last_n=window)
        assert steps.apply(torch.zeros(1, 4)).tolist() == [[0, 0, 0, expected]]


def test_lengths_follow_the_prompt() -> None:
    """min_new_tokens=1 holds EOS back for one token; the decay doubles its logit from the second token on."""
    steps = _steps([[0, 0]], eos_token_id=3, min_new_tokens=1, exponential_decay_length_penalty=(1, 2.0))
    seen = []
    for _ in range(4):
        seen.append(steps.apply(torch.ones(1, 4))[0, 3].item())
        steps.advance(torch.tensor([0]))
    assert seen == [-INF, 1.0, 2.0, 4.0]  # 1 + (2 - 1), 1 + (4 - 1)


def test_the_order_of_the_steps_can_be_changed() -> None:
    """A bias of 2 before a penalty of 2: (2 + 2) / 2 = 2; after it: 2 / 2 + 2 = 3."""
    ids, options = [[0]], {"logit_bias": {0: 2.0}, "repetition_penalty": 2.0}
    assert _steps(ids, **options).apply(torch.full((1, 2), 2.0))[0, 0] == 2.0
    late = [name for name in DEFAULT_HISTORY_ORDER if name != "logit_bias"] + ["logit_bias"]
    assert _steps(ids, **options, history_order=late).apply(torch.full((1, 2), 2.0))[0, 0] == 3.0


def test_what_needs_no_history_needs_no_tokens() -> None:
    """A bias, a ban and a list of allowed tokens work in a single call."""
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]])
    assert sample(logits, temperature=0.0, logit_bias={3: 5.0}).tolist() == [3]
    assert sample(logits, temperature=0.0, suppress_tokens=[1]).tolist() == [2]
    assert sample(logits, temperature=0.0, allowed_token_ids=[0, 3]).tolist() == [3]
    assert logits.tolist() == [[0.0, 3.0, 2.0, 1.0]]


def test_every_row_may_have_lists_of_its_own() -> None:
    """Row 0: token 1 banned by a bad word; row 1: only 0 or 3 allowed; row 2: nothing."""
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).expand(3, -1)
    options = {"bad_words_ids": [[[0, 1]], [], []], "allowed_token_ids": [None, [0, 3], None]}
    tokens = sample(logits, temperature=0.0, token_ids=torch.zeros(3, 1, dtype=torch.int64), **options)
    assert tokens.tolist() == [2, 3, 1]


# parity


def _drawn(rng: random.Random, vocab_size: int, length: int) -> tuple[dict[str, Any], list[Any]]:
    """Options of a request, and transformers' processors for them in the order of its `_get_logits_processor`."""
    tokens = lambda most=3: [rng.randrange(vocab_size) for _ in range(rng.randint(1, most))]  # noqa: E731
    options: dict[str, Any] = {}
    chain: list[Any] = []

    def maybe(build: Any, **added: Any) -> None:
        if rng.random() < 0.5:
            options.update(added)
            chain.append(build())

    eos = list(dict.fromkeys(tokens()))
    options["eos_token_id"] = eos
    bias = {tuple(tokens()): rng.uniform(-3, 3) for _ in range(4)}
    maybe(lambda: library.SequenceBiasLogitsProcessor(bias), sequence_bias=bias)
    penalty, ngram = rng.uniform(0.5, 2), rng.randint(1, 3)
    maybe(lambda: library.RepetitionPenaltyLogitsProcessor(penalty), repetition_penalty=penalty)
    maybe(lambda: library.NoRepeatNGramLogitsProcessor(ngram), no_repeat_ngram_size=ngram)
    words = [tokens() for _ in range(3)] + [[vocab_size - 1, 0]]
    maybe(lambda: library.NoBadWordsLogitsProcessor(words, eos), bad_words_ids=words)
    least = length + rng.randint(0, 3)
    maybe(lambda: library.MinLengthLogitsProcessor(least, eos), min_length=least)
    new = rng.randint(1, 3)
    maybe(lambda: library.MinNewTokensLengthLogitsProcessor(length, new, eos), min_new_tokens=new)
    allowed = tokens(vocab_size)
    maybe(lambda: library.PrefixConstrainedLogitsProcessor(lambda i, ids: allowed, 1), allowed_token_ids=allowed)
    bos = rng.randrange(vocab_size)
    maybe(lambda: library.ForcedBOSTokenLogitsProcessor(bos), forced_bos_token_id=bos)
    last, most = tokens(), length + rng.randint(1, 4)
    maybe(lambda: library.ForcedEOSTokenLogitsProcessor(most, last), forced_eos_token_id=last, max_length=most)
    decay = (rng.randint(0, 2), rng.uniform(1, 2))
    maybe(lambda: library.ExponentialDecayLengthPenalty(decay, eos, length), exponential_decay_length_penalty=decay)
    suppressed, begin = tokens(), tokens()
    maybe(lambda: library.SuppressTokensLogitsProcessor(suppressed), suppress_tokens=suppressed)
    at = length + 1 if length == 1 and "forced_bos_token_id" in options else length
    maybe(lambda: library.SuppressTokensAtBeginLogitsProcessor(begin, at), begin_suppress_tokens=begin)
    return options, chain


@rule_of_five
def test_a_request_equals_the_library_in_its_order() -> None:
    """Half of the options on, over five steps: not one bit differs."""
    compared = 0
    for seed in range(150):
        rng = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        rows, vocab_size, length = rng.randint(1, 3), rng.randint(4, 20), rng.randint(1, 6)
        ids = torch.randint(0, vocab_size, (rows, length), generator=generator)
        options, chain = _drawn(rng, vocab_size, length)
        steps = HistorySteps(SamplingParams(**options), ids, vocab_size=vocab_size)
        for _ in range(5):
            logits = torch.randn(rows, vocab_size, generator=generator) * 4
            expected, lifted = logits.clone(), torch.zeros(rows, dtype=torch.bool)
            for processor in chain:
                if isinstance(processor, library.PrefixConstrainedLogitsProcessor):
                    # Transformers lifts a row whose allowed tokens are all -inf already; a list of tokens does not.
                    lifted = expected[:, options["allowed_token_ids"]].isneginf().all(1)
                expected = processor(ids, expected)
            compared += int((~lifted).sum())
            got = steps.apply(logits.clone())
            torch.testing.assert_close(got[~lifted], expected[~lifted], rtol=0, atol=0, equal_nan=True, msg=str(seed))
            token = torch.randint(0, vocab_size, (rows,), generator=generator)
            steps.advance(token)
            ids = torch.cat([ids, token[:, None]], dim=1)
    assert compared > 1000


# mirostat and adaptive-p


def test_a_sampler_with_mirostat_learns_from_its_draws() -> None:
    """The same tokens as the filters, a MirostatStep and torch's own multinomial by hand, on the same stream."""
    params = SamplingParams(temperature=0.7, top_k=20, mirostat_tau=2.0, mirostat_eta=0.5)
    ours, theirs = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    sampler = Sampler(params, batch_size=3, vocab_size=50, device="cpu", generator=ours)
    step = MirostatStep(batch_size=3, target_surprise=2.0, learning_rate=0.5)
    for i in range(20):
        logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(i)) * 3
        kept = step.apply(apply_top_k(apply_temperature(logits, 0.7), 20))
        expected = torch.multinomial(kept.softmax(-1), 1, generator=theirs)[:, 0]
        step.advance(expected)
        assert torch.equal(sampler.select(logits, step=i), expected)
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("options", [{"mirostat_tau": [3.0, INF, 1.0]}, {"adaptive_target": [0.4, -1.0, 0.1]}])
def test_rows_keep_their_own_state_when_others_leave(options: dict[str, Any]) -> None:
    """Seeded rows draw the same tokens alone, together, and while another row pauses."""
    together = Sampler(SamplingParams(**options), batch_size=3, vocab_size=30, device="cpu", seeds=[5, 6, 7])
    alone = [
        Sampler(
            SamplingParams(**{name: values[row] for name, values in options.items()}),
            batch_size=1,
            vocab_size=30,
            device="cpu",
            seeds=[5 + row],
        )
        for row in range(3)
    ]
    for i in range(12):
        logits = torch.randn(3, 30, generator=torch.Generator().manual_seed(i)) * 3
        rows = torch.tensor([2, 0] if i in (3, 4, 7) else [0, 1, 2])
        drawn = together.select(logits[rows], step=i, rows=rows)
        for row, token in zip(rows.tolist(), drawn.tolist(), strict=True):
            assert alone[row].select(logits[row : row + 1], step=i).tolist() == [token]


def test_adaptive_p_draws_from_the_reshaped_logits() -> None:
    """The seeded race over AdaptivePStep's own logits gives the sampler's tokens."""
    sampler = Sampler(SamplingParams(adaptive_target=0.3), batch_size=2, vocab_size=9, device="cpu", seeds=[1, 2])
    step = AdaptivePStep(batch_size=2, target=0.3)
    for i in range(10):
        logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(i)) * 2
        expected = sample(step.apply(logits.clone()), seeds=[1, 2], step=i)
        step.advance(expected)
        assert torch.equal(sampler.select(logits, step=i), expected)


def test_greedy_rows_take_no_part_in_mirostat() -> None:
    """A row with temperature 0 takes its largest logit."""
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    sampler = Sampler(
        SamplingParams(temperature=[0.0, 1.0], adaptive_target=0.0), batch_size=2, vocab_size=3, device="cpu"
    )
    assert all(sampler.select(logits)[0] == 1 for _ in range(10))


def test_requests_are_values() -> None:
    """Equal options make equal requests, in every copy; the text shows what is not the default."""
    params = SamplingParams(temperature=0.8, top_p=[0.9, 0.5], logit_bias={2: 1.0})
    assert repr(params) == "SamplingParams(temperature=0.8, top_p=(0.9, 0.5), logit_bias={2: 1.0})"
    for same in (pickle.loads(pickle.dumps(params)), copy.deepcopy(params), copy.copy(params), replace(params)):
        assert same == params and hash(same) == hash(params)
    tensors = [SamplingParams(top_k=torch.tensor([k, 2])) for k in (1, 1, 3)]
    assert tensors[0] == tensors[1] != tensors[2] and hash(tensors[0]) == hash(tensors[1])
    assert params != SamplingParams(temperature=0.8) and params != "params"
    assert SamplingParams() != SamplingParams(top_k=torch.tensor([1])) != SamplingParams(top_k=[1, 2])
    assert SamplingParams(logit_bias={1: 2.0}) != SamplingParams(logit_bias={1: 3.0})


def test_a_request_keeps_the_values_it_was_checked_with() -> None:
    top_p, top_k = [0.9, 0.5], np.array([1, 2])
    params = SamplingParams(top_p=top_p, top_k=top_k, min_p=np.float32(0.1), temperature=torch.tensor(0.7))
    top_p[0], top_k[0] = 7.0, -1
    assert params.top_p == (0.9, 0.5) and params.top_k.tolist() == [1, 2]
    assert params.min_p == 0.1 and params.temperature == 0.7
    assert not SamplingParams(top_p=np.float32(1.0)).is_on("top_p")
    with pytest.raises(FrozenInstanceError):
        params.top_p = 0.5


# errors


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"min_length": 3}, ValueError, "eos_token_id must be given for min_length; got None"),
        ({"min_new_tokens": [0, 2]}, ValueError, "eos_token_id must be given for min_new_tokens; got None"),
        (
            {"exponential_decay_length_penalty": (1, 1.5)},
            ValueError,
            "eos_token_id must be given for exponential_decay_length_penalty; got None",
        ),
        ({"forced_eos_token_id": 1}, ValueError, "max_length must be given for forced_eos_token_id; got None"),
        ({"max_length": [3, 0]}, ValueError, "max_length must be an integer >= 1; got 0 in row 1"),
        (
            {"exponential_decay_length_penalty": 2.0, "eos_token_id": 1},
            TypeError,
            "exponential_decay_length_penalty must be a pair (start, factor); got 2.0",
        ),
        (
            {"exponential_decay_length_penalty": (1, [1.0, -2.0]), "eos_token_id": 1},
            ValueError,
            "exponential_decay_length_penalty's factor must be a finite number > 0; got -2 in row 1",
        ),
        ({"mirostat_tau": 0.0}, ValueError, "mirostat_tau must be > 0; got 0.0"),
        ({"mirostat_eta": INF}, ValueError, "mirostat_eta must be a finite number; got inf"),
        ({"adaptive_target": [0.5, 1.5]}, ValueError, "adaptive_target must be <= 1; got 1.5 in row 1"),
        ({"adaptive_decay": 1.0}, ValueError, "adaptive_decay must be in [0, 0.99]; got 1.0"),
        ({"dry_base": 0.5}, ValueError, "dry_base must be a finite number >= 1; got 0.5"),
        ({"dry_penalty_last_n": -1}, ValueError, "dry_penalty_last_n must be an integer >= 0; got -1"),
        (
            {"history_order": ["dry"]},
            ValueError,
            f"history_order must be an arrangement of {list(DEFAULT_HISTORY_ORDER)}; got ['dry']",
        ),
    ],
)
def test_a_request_is_checked_when_it_is_made(options: dict[str, Any], error: type[Exception], text: str) -> None:
    """The option is named, and the row where there is one."""
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        SamplingParams(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"repetition_penalty": [1.1]}, "repetition_penalty must be a number or of shape [2], one per row; got [1]"),
        ({"presence_penalty": [1.0] * 3}, "presence_penalty must be a number or of shape [2], one per row; got [3]"),
        ({"dry_multiplier": 1.0, "dry_base": [2.0]}, "dry_base must be a number or of shape [2], one per row; got [1]"),
        ({"logit_bias": {9: 1.0}}, "logit_bias must hold token ids in [0, 4); got 9"),
        ({"bad_words_ids": [[1], [7]]}, "bad_words_ids must hold token ids in [0, 4); got 7"),
        ({"allowed_token_ids": [4]}, "allowed_token_ids must be in [0, 4); got 4"),
        ({"allowed_token_ids": [[1], []]}, "allowed_token_ids must list at least one token; got none in row 1"),
        ({"allowed_token_ids": []}, "allowed_token_ids must list at least one token; got none"),
        ({"suppress_tokens": [[1]]}, "suppress_tokens must be one list, or one list per row, 2; got 1 lists"),
        ({"forced_bos_token_id": 9}, "forced_bos_token_id must be in [0, 4); got 9"),
        ({"forced_eos_token_id": 9, "max_length": 3}, "forced_eos_token_id must be in [0, 4); got 9"),
        (
            {"exponential_decay_length_penalty": (0, 2.0), "eos_token_id": 5},
            "eos_token_id must be in [0, 4); got 5",
        ),
        (
            {"repetition_penalty": 1.5, "prompt_length": [1]},
            "prompt_length must be a number or of shape [2], one per row; got [1]",
        ),
        (
            {"repetition_penalty": 1.5, "ignore_length": -1},
            "ignore_length must be an integer >= 0; got -1",
        ),
    ],
)
def test_a_request_that_does_not_fit_the_batch_is_refused(options: dict[str, Any], text: str) -> None:
    """By the steps and by `sample`, which has drawn nothing then."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        _steps([[0], [1]], **options)
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        sample(torch.zeros(2, 4), token_ids=torch.tensor([[0], [1]]), **options)
    assert torch.equal(torch.get_rng_state(), before)
