"""Transformers' processors that keep a state, as steps inside generate: tokens, scores and state are transformers'."""

import copy
from typing import Any

import pytest
import torch
from transformers import GenerationMixin
from transformers.generation import logits_process as library

from afterlogits.adapters import generate
from afterlogits.adapters.generation.processors import LibraryProcessors, translate
from afterlogits.decoding.search.history import History
from tests.builders.seeded_models import repeating_prompts, seeded_model

PAD, EOS = 1, 9
IS_OLD = not hasattr(GenerationMixin, "_prefill")
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True},
    "samples": {"do_sample": True, "num_return_sequences": 2},
    "beam": {"do_sample": False, "num_beams": 3},
    "beam-sample": {"do_sample": True, "num_beams": 2},
}
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: seeded_model(name) for name in ("llama", "bart")}


def synthid(**options: Any) -> Any:
    """A watermark with a short context and a short memory, so that contexts recur and are forgotten."""
    size = {"ngram_len": 2, "sampling_table_size": 64, "sampling_table_seed": 3, "context_history_size": 3}
    return library.SynthIDTextWatermarkLogitsProcessor(
        keys=[3, 141, 59, 26], device=torch.device("cpu"), **{**size, **options}
    )


def both(model: Any, processor: Any, **options: Any) -> tuple[Any, Any, Any]:
    """Transformers' answer with the processor, ours with a copy of it, and the copy."""
    ids = repeating_prompts()
    options = {"max_new_tokens": 14, "pad_token_id": PAD, "eos_token_id": EOS, **options}
    options |= {"attention_mask": torch.ones_like(ids), "return_dict_in_generate": True, "output_scores": True}
    twin = copy.deepcopy(processor)
    torch.manual_seed(11)
    expected = model.generate(ids, logits_processor=[processor], **options)
    torch.manual_seed(11)
    return expected, generate(model, ids, logits_processor=[twin], **options), twin


def check(expected: Any, actual: Any) -> None:
    assert actual.sequences.tolist() == expected.sequences.tolist()
    for ours, theirs in zip(actual.scores, expected.scores, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@quiet
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_synthid(models: dict[str, Any], mode: str, skip: bool) -> None:
    """Tokens, scores and the state it leaves, also where a second call goes on from the state of the first."""
    ours = theirs = synthid(skip_first_ngram_calls=skip, ngram_len=3 if skip else 2)
    for _ in range(2):
        if ours is not theirs:
            assert all(torch.equal(a, b) for a, b in zip(state(ours), state(theirs), strict=True))
        expected, actual, ours = both(models["llama"], theirs, **MODES[mode])
        check(expected, actual)
        assert all(torch.equal(a, b) for a, b in zip(state(ours), state(theirs), strict=True))


def state(processor: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    kept = processor.state
    return kept.context, kept.context_history, torch.tensor(kept.num_calls)


@quiet
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", ["llama", "bart"])
def test_encoder_ngrams(models: dict[str, Any], name: str, size: int, mode: str) -> None:
    """For a decoder-only model the prompt is the encoder's text."""
    found = library.EncoderNoRepeatNGramLogitsProcessor(size, repeating_prompts())
    check(*both(models[name], found, eos_token_id=None, **MODES[mode])[:2])


@quiet
@pytest.mark.skipif(IS_OLD, reason="4.57 leaves nothing where all that is allowed is -inf already")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama", "bart"])
def test_prefix_function(models: dict[str, Any], name: str, mode: str) -> None:
    """It sees the prompts and ids that it sees in transformers, and wins over bans of all that it allows."""
    calls: list[list[tuple[int, list[int]]]] = []

    def allowed(item: int, ids: torch.Tensor) -> Any:
        calls[-1].append((item, ids.tolist()))
        return torch.tensor([3, 4]) if len(ids) % 3 == 0 else [3 + item, 12, 20 + len(ids) % 4, EOS]

    answers = []
    for call in (models[name].generate, lambda ids, **options: generate(models[name], ids, **options)):
        calls.append([])
        torch.manual_seed(11)
        options = {"max_new_tokens": 9, "pad_token_id": PAD, "eos_token_id": EOS, "return_dict_in_generate": True}
        options |= {"output_scores": True, "prefix_allowed_tokens_fn": allowed, "bad_words_ids": [[3], [4]]}
        answers.append(call(repeating_prompts(), attention_mask=torch.ones(3, 7).long(), **options, **MODES[mode]))
    check(*answers)
    assert calls[0] == calls[1]


@quiet
@pytest.mark.skipif(IS_OLD, reason="4.57 leaves nothing where all that is allowed is -inf already")
@pytest.mark.parametrize("kind", ["synthid", "ngrams", "prefix"])
def test_rows_that_leave(models: dict[str, Any], kind: str) -> None:
    """Finished rows leave the batch and the state of the others stays theirs."""
    make = {
        "synthid": synthid,
        "ngrams": lambda: library.EncoderNoRepeatNGramLogitsProcessor(2, repeating_prompts()),
        "prefix": lambda: library.PrefixConstrainedLogitsProcessor(lambda item, ids: [3, 4, 5 + item, *ENDS], 1),
    }[kind]
    ENDS = [8, EOS]
    widths, decoder = [], models["llama"].model
    forward = decoder.forward

    def watched(**inputs: Any) -> Any:  # not a hook: where one looks on, rows stay
        widths.append(inputs["input_ids"].shape[0])
        return forward(**inputs)

    options = {"do_sample": True, "seeds": [1, 2, 5], "max_new_tokens": 14, "pad_token_id": PAD, "eos_token_id": ENDS}
    options["attention_mask"] = torch.ones(3, 7).long()
    expected = generate(models["llama"], repeating_prompts(), logits_processor=[make()], **options)
    decoder.forward = watched
    try:
        actual = generate(models["llama"], repeating_prompts(), logits_processor=[make()], compact=True, **options)
    finally:
        del decoder.forward
    assert actual.tolist() == expected.tolist()
    assert min(widths) < 3


def test_what_stays_the_library_s(models: dict[str, Any]) -> None:
    """A state of other rows, a debugging watermark: the object itself runs."""
    processor = synthid()
    processor(repeating_prompts(), torch.zeros(3, 29))
    assert isinstance(translate([processor], History(repeating_prompts()[:2]))[0], LibraryProcessors)
    assert not isinstance(translate([processor], History(repeating_prompts()))[0], LibraryProcessors)
    assert isinstance(translate([synthid(debug_mode=True)], History(repeating_prompts()))[0], LibraryProcessors)
    assert not isinstance(translate([synthid()], History(repeating_prompts()))[0], LibraryProcessors)
