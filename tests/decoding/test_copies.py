"""Every public object of decoding/ is pickled and deep-copied, and goes on as the original does."""

import copy
import inspect
import pickle

import pytest
import torch

import afterlogits.decoding as decoding
from afterlogits.decoding import *  # noqa: F403
from afterlogits.decoding import SamplingParams

IDS = torch.tensor([[1, 2, 3, 1, 2], [4, 4, 5, 6, 7]])
VOCABULARY = 12
ROWS = {"batch_size": 2, "vocab_size": VOCABULARY}


def prefix(batch, row):
    """A prefix function that pickle finds by its name."""
    return [1, 2, 3]


# How each class is built; a class of the public names that is missing here fails below.
BUILT = {
    "AdaptivePStep": {"batch_size": 2, "target": 0.5},
    "AllowedTokensStep": {"allowed_token_ids": [1, 2, 3], **ROWS},
    "BadWordsStep": {"token_ids": IDS, "bad_words_ids": [[1], [2, 3]], "vocab_size": VOCABULARY},
    "CountPenaltyStep": {"token_ids": IDS, "frequency_penalty": 0.5, "vocab_size": VOCABULARY},
    "DisjunctiveConstraint": {"nested_token_ids": [[1, 2], [3]]},
    "DrawSteps": {"params": SamplingParams(mirostat_tau=3.0), "batch_size": 2},
    "DryStep": {"token_ids": IDS, "multiplier": 0.8},
    "EncoderNoRepeatNgramStep": {"token_ids": IDS, "ngram_size": 2, "encoder_token_ids": IDS},
    "EncoderRepetitionPenaltyStep": {
        "encoder_token_ids": IDS,
        "penalty": 1.3,
        "vocab_size": VOCABULARY,
        "batch_size": 2,
    },
    "ExponentialDecayStep": {"factor": 1.1, "start": 2, "eos_token_id": 0, "length": 5, **ROWS},
    "ForcedTokenStep": {"token_id": 3, "position": 6, "length": 5, **ROWS},
    "GreenLists": {"vocab_size": VOCABULARY},
    "HistorySteps": {"params": SamplingParams(repetition_penalty=1.2), "token_ids": IDS, "vocab_size": VOCABULARY},
    "LogitBiasStep": {"bias": {3: 1.5}, **ROWS},
    "MinLengthStep": {"min_length": 8, "eos_token_id": 0, "length": 5, **ROWS},
    "MirostatStep": {"batch_size": 2},
    "NoRepeatNgramStep": {"token_ids": IDS, "ngram_size": 2},
    "PhrasalConstraint": {"token_ids": [1, 2]},
    "PrefixAllowedTokensStep": {"token_ids": IDS, "prefix_allowed_tokens_fn": prefix},
    "RepetitionPenaltyStep": {"token_ids": IDS, "penalty": 1.3, "vocab_size": VOCABULARY},
    "SamplingParams": {"temperature": [0.7, 1.2], "top_k": 5, "logit_bias": {3: 1.0}},
    "SequenceBiasStep": {"token_ids": IDS, "sequence_bias": {(1, 2): 2.0}, "vocab_size": VOCABULARY},
    "SuppressTokensStep": {"suppress_tokens": [1, 2], **ROWS},
    "SynthIDKeys": {"keys": [1, 2, 3, 4]},
}
RESULTS = ("Sampled", "WatermarkDetection", "LogitsStep")  # made by functions; a protocol
CLASSES = [name for name in decoding.__all__ if inspect.isclass(getattr(decoding, name)) and name not in RESULTS]


def built(name):
    if name == "Sampler":
        params = SamplingParams(temperature=0.9, top_k=6, mirostat_tau=3.0)
        return decoding.Sampler(params, device="cpu", seeds=[1, 2], **ROWS)
    if name == "SynthIDStep":
        return decoding.SynthIDStep(decoding.SynthIDKeys([1, 2, 3, 4]), batch_size=2)
    if name == "WatermarkStep":
        return decoding.WatermarkStep(IDS, 2.0, green_lists=decoding.GreenLists(VOCABULARY))
    return getattr(decoding, name)(**BUILT[name])


def copies(original):
    return pickle.loads(pickle.dumps(original)), copy.deepcopy(original)


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_is_pickled_and_copied(name):
    original = built(name)
    for same in copies(original):
        assert type(same) is type(original) and same is not original


@pytest.mark.parametrize("name", [name for name in CLASSES if name.endswith("Step")])
def test_a_copied_step_goes_on_as_the_original(name):
    """Logits of the next step, after a token that only the original and the copy have seen since."""
    original = built(name)
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(0))
    same, deep = copies(original)
    outcomes = []
    for step in (original, same, deep):
        first = step.apply(logits.clone())
        step.advance(torch.tensor([2, 7]))
        outcomes.append((first, step.apply(logits.clone())))
    for other in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], other, strict=True))


def test_a_sampler_in_the_middle_of_its_draws_goes_on_in_a_copy():
    """Seeds, the step that is reached and mirostat's state are all there."""
    logits = torch.randn(6, 2, VOCABULARY, generator=torch.Generator().manual_seed(0))
    original = built("Sampler")
    draw = lambda sampler, steps: [sampler.select(logits[step], step=step) for step in steps]  # noqa: E731
    draw(original, range(3))
    same, deep = copies(original)
    first = torch.stack(draw(original, range(3, 6)))
    assert torch.equal(torch.stack(draw(same, range(3, 6))), first)
    assert torch.equal(torch.stack(draw(deep, range(3, 6))), first)


def test_histories_of_a_copy_are_its_own():
    """Steps keep arrays over the memory of their tensors; a copy has its own, for many steps and rows that move."""
    params = SamplingParams(repetition_penalty=1.3, frequency_penalty=0.4, no_repeat_ngram_size=2, dry_multiplier=0.5)
    original = decoding.HistorySteps(params, IDS, vocab_size=VOCABULARY)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, VOCABULARY, (200, 2), generator=generator)
    logits = torch.randn(2, VOCABULARY, generator=generator)
    for tokens in drawn[:40]:
        original.advance(tokens)
    same, deep = copies(original)
    deep.advance(torch.tensor([0, 0]))  # the original must not see it
    deep = copy.deepcopy(original)
    for number, tokens in enumerate(drawn[40:]):
        expected = original.apply(logits.clone())
        assert torch.equal(same.apply(logits.clone()), expected) and torch.equal(deep.apply(logits.clone()), expected)
        for step in (original, same, deep):
            step.advance(tokens)
            if number % 50 == 10:
                step.select_rows(torch.tensor([1, 0]))


def test_requests_stay_equal():
    params = built("SamplingParams")
    assert all(same == params and repr(same) == repr(params) for same in copies(params))


def test_results_are_pickled_and_copied():
    logits = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(0))
    found = decoding.sample(logits, seeds=[1, 2], logprobs=3)
    for same in copies(found):
        assert type(same) is type(found)
        assert all(torch.equal(getattr(same, name), getattr(found, name)) for name in vars(found))
