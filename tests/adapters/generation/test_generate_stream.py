"""``generate_stream``: every prompt as in a ``generate`` of its own, over models, options and orders of arrival."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.adapters import generate, generate_stream
from afterlogits.adapters.generation.generate_stream import GeneratedRow, as_prompt
from tests.adapters.generation.near_ties import logit_gap
from tests.builders.architectures import DECODER_ONLY, EOS, PAD, tiny_model
from tests.builders.seeded_models import seeded_model
from tests.builders.text_models import bytelevel, tiny_decoder

quiet = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*batch after batch.*:RuntimeWarning")
ENDS = {"pad_token_id": 0, "eos_token_id": 2}


def prompts(count: int, vocab: int = 29, longest: int = 9, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(3, vocab) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def alone(model: Any, prompt: Sequence[int], **options: Any) -> list[int]:
    ids = torch.tensor([list(prompt)])
    return generate(model, ids, attention_mask=torch.ones_like(ids), **options)[0].tolist()


def assert_equal(model: Any, row: GeneratedRow, expected: list[int], prompt: Sequence[int]) -> None:
    """Equal, or they part where two logits are nearly equal."""
    actual = row.token_ids.tolist()
    if actual == expected:
        return
    inputs = {"input_ids": torch.tensor([list(prompt)]), "attention_mask": torch.ones(1, len(prompt))}
    gap, place = logit_gap(model, inputs, 0, actual, expected)
    print(f"prompt {row.index} parts at token {place}: the logits differ by {gap:.2e}")
    assert gap < 1e-4, f"prompt {row.index}: {actual} and {expected}"


@quiet
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("max_rows", [1, 3, 32])
def test_greedy_rows_are_those_of_a_call_each(kind: str, max_rows: int) -> None:
    """Twelve prompts of unlike lengths, each with its own number of new tokens."""
    model, given = seeded_model(kind), prompts(12)
    lengths = [3 + 5 * (number % 4) for number in range(12)]
    found = list(generate_stream(model, given, max_rows=max_rows, max_new_tokens=lengths, do_sample=False, **ENDS))
    assert sorted(row.index for row in found) == list(range(12))
    for row in found:
        expected = alone(model, given[row.index], max_new_tokens=lengths[row.index], do_sample=False, **ENDS)
        assert_equal(model, row, expected, given[row.index])
        assert row.reason == ("eos" if row.token_ids[-1] == 2 else "length")
        assert row.prompt_length == len(given[row.index])
        assert row.new_ids.tolist() == row.token_ids.tolist()[row.prompt_length :]


@quiet
def test_ordered_results_come_in_the_order_of_the_prompts() -> None:
    """The first prompt is the longest by far."""
    found = generate_stream(
        seeded_model("llama"), prompts(9), max_rows=3, ordered=True, max_new_tokens=[30] + [2] * 8, do_sample=False,
        pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    assert [row.index for row in found] == list(range(9))


@quiet
def test_prompts_are_read_as_rows_become_free() -> None:
    """Of an endless stream no more than the rows and as many ahead are read before the first result."""
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield [5, 6, 7]

    stream = generate_stream(seeded_model("llama"), endless(), max_rows=4, max_new_tokens=3, do_sample=False, **ENDS)
    next(stream)
    assert read <= 12


OPTIONS: list[dict[str, Any]] = [
    {"do_sample": False},
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.6, "top_k": 5},
    {"do_sample": True, "top_p": 0.8, "min_p": 0.02, "top_k": 0},
    {"do_sample": True, "typical_p": 0.7},
    {"do_sample": True, "top_n_sigma": 1.5},
    {"do_sample": False, "repetition_penalty": 1.5},
    {"do_sample": True, "no_repeat_ngram_size": 2, "min_new_tokens": 6},
    {"do_sample": False, "min_length": 12, "bad_words_ids": [[5], [7, 8]]},
    {"do_sample": True, "frequency_penalty": 0.8, "presence_penalty": 0.4},
    {"do_sample": False, "logit_bias": {9: 3.0}, "suppress_tokens": [4, 11]},
    {"do_sample": True, "dry_multiplier": 1.0, "allowed_token_ids": list(range(2, 20))},
    {"do_sample": False, "forced_eos_token_id": 2, "max_new_tokens": 5},
    {"do_sample": True, "renormalize_logits": True, "remove_invalid_values": True, "epsilon_cutoff": 0.01},
    {"do_sample": False, "sequence_bias": [[[6], 2.0]], "exponential_decay_length_penalty": (3, 1.4)},
]


@quiet
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_rows_of_unlike_options_and_seeds_in_any_order(seed: int) -> None:
    """Options, seeds, lengths, rows at once and the order of arrival are drawn."""
    rng = random.Random(seed)
    model = seeded_model("llama", layers=2)
    given = prompts(rng.randint(2, 10), seed=seed)
    items = [
        {"input_ids": prompt, "seed": rng.randrange(2**40), "max_new_tokens": rng.randint(1, 14), **rng.choice(OPTIONS)}
        for prompt in given
    ]
    found = generate_stream(model, [dict(item) for item in items], max_rows=rng.randint(1, 5), **ENDS)
    for row in found:
        item = dict(items[row.index])
        prompt, own = item.pop("input_ids"), item.pop("seed")
        seeds = {"seeds": [own]} if item["do_sample"] else {}
        assert_equal(model, row, alone(model, prompt, **item, **seeds, **ENDS), prompt)


@quiet
def test_every_decoder_of_the_library() -> None:
    """Tiny models of every architecture that can be made here: those whose rows join, and those that fall back."""
    counts = {"join": 0, "batch after batch": 0, "cannot be made": 0}
    for kind in FAMILIES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = _family(kind)
        counts[outcome] += 1
        del caught
    print(counts)
    assert counts["join"] >= 5
    assert counts["batch after batch"] >= 2


FAMILIES = [
    name
    for name in ("llama", "gpt2", "mistral", "gemma2", "gemma3_text", "bloom", "opt", "gpt_neox", "qwen3", "qwen3_moe",
                 "phi3", "falcon", "mamba", "jamba", "bamba", "recurrent_gemma", "llama4_text", "deepseek_v3")
    if name in DECODER_ONLY
]  # fmt: skip


def _family(kind: str) -> str:
    from afterlogits.adapters.generation.joinable import why_rows_cannot_join

    try:
        model = tiny_model(kind)
        # Of two tokens and more: recurrent_gemma of 4.57 takes a prompt of one for a step of the batch before.
        given = [[5, *prompt] for prompt in prompts(7, vocab=99, longest=24, seed=5)]
        options = {"do_sample": False, "pad_token_id": PAD, "eos_token_id": EOS}
        expected = [alone(model, prompt, max_new_tokens=12, **options) for prompt in given]
    except Exception as error:
        print(kind, "cannot be made:", type(error).__name__, str(error)[:80])
        return "cannot be made"
    reason = why_rows_cannot_join(model)
    for row in generate_stream(model, given, max_rows=3, max_new_tokens=12, **options):
        assert_equal(model, row, expected[row.index], given[row.index])
    print(kind, "joins" if reason is None else f"batch after batch: {reason}")
    return "join" if reason is None else "batch after batch"


@quiet
def test_a_model_whose_rows_cannot_join_says_so_once() -> None:
    """A state-space model: one warning, with the reason."""
    model = tiny_model("mamba")
    messages = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            list(generate_stream(model, [[5, 6, 7]], max_new_tokens=2, do_sample=False, pad_token_id=0))
        messages += [str(one.message) for one in caught if "batch after batch" in str(one.message)]
    assert len(messages) <= 1


@quiet
@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_prompts_of_encoder_decoders_are_what_the_encoder_reads(kind: str) -> None:
    """Batch after batch: unlike lengths share one, tokens are the decoder's, and each row has its own options."""
    model = tiny_model(kind, encoder_decoder=True)
    given = prompts(11, longest=12)
    lengths = [3 + number % 5 for number in range(11)]
    for options in ({"do_sample": False}, {"do_sample": True, "top_k": 20, "repetition_penalty": 1.3}):
        seeds = None if not options["do_sample"] else list(range(11))
        stream = generate_stream(
            model, given, max_rows=4, ordered=True, seeds=seeds, max_new_tokens=lengths, **ENDS, **options
        )
        for row, prompt in zip(stream, given, strict=True):
            own = {} if seeds is None else {"seeds": [row.index]}
            expected = alone(model, prompt, max_new_tokens=lengths[row.index], **own, **ENDS, **options)
            assert_equal(model, row, expected, prompt)
            assert len(row.new_ids) == row.token_ids.shape[0] - 1 <= lengths[row.index]
    with pytest.raises(ValueError, match="prompt 0: decoder_input_ids must not be given for rows of a running batch"):
        list(generate_stream(model, given, decoder_input_ids=[[1, 2]], **ENDS))


@quiet
def test_stop_strings_end_a_row_where_generate_ends_it() -> None:
    """Two rows with strings of their own beside one without."""
    tokenizer = bytelevel()
    model = tiny_decoder(tokenizer)
    given = [tokenizer(text)["input_ids"] for text in ("the river", "a stone in", "the")]
    free = [alone(model, prompt, max_new_tokens=12, do_sample=False, pad_token_id=0) for prompt in given]
    texts = [tokenizer.decode(ids[len(prompt) :]) for ids, prompt in zip(free, given, strict=True)]
    stops = [texts[0][3:6] or "e", texts[1][1:3] or "a", None]
    items = [
        {"input_ids": prompt, **({"stop_strings": stop, "tokenizer": tokenizer} if stop else {})}
        for prompt, stop in zip(given, stops, strict=True)
    ]
    common = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    stopped = 0
    for row in generate_stream(model, items, **common):
        item = dict(items[row.index])
        prompt = item.pop("input_ids")
        assert_equal(model, row, alone(model, prompt, **item, **common), prompt)
        stopped += row.reason == "stop"
        assert row.reason == "length" or len(row.new_ids) <= 12
    assert stopped >= 1


@quiet
def test_seeds_by_number_and_draws_of_ones_own() -> None:
    """With seeds a row is that of ``generate``; without, torch's generator decides, whatever the rows at once."""
    model, given = seeded_model("llama"), prompts(6)
    options = {"do_sample": True, "max_new_tokens": 8, **ENDS}
    for row in generate_stream(model, given, seeds=[7, 8, 9, 10, 11, 12], max_rows=2, **options):
        assert_equal(model, row, alone(model, given[row.index], seeds=[7 + row.index], **options), given[row.index])
    runs = []
    for max_rows in (1, 4):
        torch.manual_seed(3)
        stream = generate_stream(model, given, max_rows=max_rows, ordered=True, **options)
        runs.append([row.token_ids.tolist() for row in stream])
    assert runs[0] == runs[1]


@quiet
def test_padded_prompts_of_a_tensor() -> None:
    """A batch as ``generate`` takes it: ids and mask."""
    model = seeded_model("llama")
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])
    mask = (ids != 0).long()
    options = {"do_sample": False, "max_new_tokens": 5, **ENDS}
    found = list(generate_stream(model, ids, attention_mask=mask, ordered=True, **options))
    assert [row.prompt_length for row in found] == [2, 4]
    assert_equal(model, found[0], alone(model, [5, 6], **options), [5, 6])


@quiet
def test_errors_name_the_prompt() -> None:
    """What the rows of a running batch cannot have, and what is wrong with one prompt."""
    model = seeded_model("llama")
    with pytest.raises(ValueError, match="prompt 0: num_beams, assistants and the like must be off"):
        list(generate_stream(model, [[5, 6]], num_beams=2, max_new_tokens=3, **ENDS))
    with pytest.raises(ValueError, match=r"prompt 1: input_ids must have shape \[P\], P >= 1; got \[0\]"):
        list(generate_stream(model, [[5], torch.tensor([], dtype=torch.int64)], max_new_tokens=3, **ENDS))
    with pytest.raises(ValueError, match="prompt 2: max_new_tokens must have one value for each prompt; got 2"):
        list(generate_stream(model, [[5], [6], [7]], max_new_tokens=[1, 2], **ENDS))
    with pytest.raises(ValueError, match="prompt 0: return_dict_in_generate must not be given"):
        list(generate_stream(model, [[5]], return_dict_in_generate=True, **ENDS))
    with pytest.raises(TypeError, match="model must be a transformers model that can generate; got Linear"):
        generate_stream(torch.nn.Linear(2, 2), [[5]])
    with pytest.raises(TypeError, match="max_rows must be an int; got str"):
        generate_stream(model, [[5]], max_rows="a")
    for wrong, named in {
        "seeds must have one value for each prompt; got 1 for prompt 1": {"seeds": [3]},
        "seeds must have one value for each prompt; got int for prompt 0": {"seeds": 3},
        "attention_mask must have one value for each prompt; got 1 for prompt 1": {"attention_mask": torch.ones(1, 1)},
        "prompt 0: attention_mask must leave a token of the prompt; got none": {"attention_mask": torch.zeros(3, 1)},
    }.items():
        with pytest.raises(ValueError, match=wrong):
            list(generate_stream(model, [[5], [6], [7]], max_new_tokens=2, **named, **ENDS))
    with pytest.raises(TypeError, match="prompt 1: seed must be an int; got 'a'"):
        list(generate_stream(model, [[5], [6]], max_new_tokens=2, seeds=[1, "a"], **ENDS))
    with pytest.raises(TypeError, match="prompt 0: input_ids must be whole numbers; got 'abc'"):
        list(generate_stream(model, ["abc"], max_new_tokens=2, **ENDS))


@quiet
@pytest.mark.parametrize("ordered", [False, True])
def test_a_stream_can_be_closed_and_goes_on_behind_an_error_of_its_reader(ordered: bool) -> None:
    """Nothing is read or run after ``close``; what a reader raises is no concern of the stream's."""
    read: list[int] = []

    def endless() -> Any:
        while True:
            read.append(len(read))
            yield [5, 3 + len(read) % 20]

    stream: Any = generate_stream(
        seeded_model("llama"), endless(), max_rows=3, ordered=ordered, max_new_tokens=4, do_sample=False, **ENDS
    )
    seen = []
    for _ in range(2):
        with pytest.raises(KeyError):
            for row in stream:
                seen.append(row.index)
                raise KeyError("the reader's")
        seen.append(next(stream).index)
    assert len(set(seen)) == 4
    stream.close()
    count = len(read)
    assert list(stream) == []
    assert len(read) == count


@quiet
def test_what_is_no_stream_of_prompts_is_refused() -> None:
    """A tokenizer's answer for several texts, a text, and a mapping without its tokens."""
    model = seeded_model("llama")
    with pytest.raises(TypeError, match="prompts must be an iterable of prompts; got dict"):
        generate_stream(model, {"input_ids": [[5, 6]]}, max_new_tokens=3, **ENDS)
    with pytest.raises(TypeError, match="prompts must be an iterable of prompts; got str"):
        generate_stream(model, "the river", max_new_tokens=3, **ENDS)
    with pytest.raises(ValueError, match=r"prompt 1: input_ids must be given; got \['seed'\]"):
        list(generate_stream(model, [[5], {"seed": 3}], max_new_tokens=3, **ENDS))


@quiet
@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
def test_prompts_longer_than_a_window_beside_prompts_of_one_token(kind: str) -> None:
    """Sliding windows join by a forward of the prompts' own; rows outgrow the window while others come and go."""
    model = tiny_model(kind)
    given = [[5 + number] * length for number, length in enumerate((1, 30, 2, 17, 40))]
    options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0, "eos_token_id": 1}
    for row in generate_stream(model, given, max_rows=2, **options):
        assert_equal(model, row, alone(model, given[row.index], **options), given[row.index])


def test_an_empty_list_is_no_prompt() -> None:
    with pytest.raises(ValueError, match=r"input_ids must have shape \[P\], P >= 1; got \[0\]"):
        as_prompt([])
