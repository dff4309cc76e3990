"""One text by the backend alone: the rows that the tokenizer's own call gives, whatever was asked of it before."""

import copy
import random

import pytest
from transformers import PreTrainedTokenizerFast

from afterlogits.adapters.running.direct_encoding import encode_one
from afterlogits.adapters.running.tokenising import encode_rows, rows_of
from tests.builders.text_models import FAMILIES, WORDS, tokenizer_of

CASES = 400


def drawn_options(drawn: random.Random) -> dict:
    """A few of the options that are known, at lengths below and above that of the texts."""
    choices = {
        "add_special_tokens": [True, False],
        "max_length": [None, 8, 24],
        "padding": [False, False, "max_length", "do_not_pad"],
        "return_offsets_mapping": [True, False],
        "return_overflowing_tokens": [True, False],
        "return_special_tokens_mask": [True, False],
        "stride": [0, 1],
        "truncation": [None, False, True, True, "longest_first", "do_not_truncate"],
    }
    names = drawn.sample(list(choices), drawn.randint(0, 5))
    return {name: drawn.choice(choices[name]) for name in names}


def drawn_text(drawn: random.Random) -> str:
    return " ".join(drawn.choices([*WORDS, "", "  ", "zzz"], k=drawn.randint(0, 30)))


def shown(rows):
    return [(dict(row.inputs), list(row.inputs), row.length, row.encoding.tokens, dict(row.facts)) for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_the_call(family):
    """400 drawn texts and pairs a family, one after the other on one tokenizer, against another that is called."""
    drawn = random.Random(family)
    tokenizer, called = (copy.deepcopy(tokenizer_of(family)) for _ in range(2))
    several = 0
    for _ in range(CASES):
        options, text = drawn_options(drawn), drawn_text(drawn)
        pair = drawn_text(drawn) if drawn.random() < 0.4 else None
        expected = rows_of(called([text], None if pair is None else [pair], **options))
        found = encode_one(tokenizer, text, pair, options)
        assert found is not None and shown(found) == shown(expected), (text, pair, options)
        several += len(found) > 1
    assert several > 5


def test_encode_rows_takes_the_short_way(monkeypatch):
    """One text does not call the tokenizer, several do; both give the same rows."""
    tokenizer = copy.deepcopy(tokenizer_of("wordpiece"))
    expected = shown(encode_rows(tokenizer, ["the river", "near"], truncation=True))
    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", None)
    assert shown(encode_rows(tokenizer, ["the river"], truncation=True)) == expected[:1]
    assert shown(encode_rows(tokenizer, ["the river"], truncation=True, padding=True)) == expected[:1]
    with pytest.raises(TypeError):
        encode_rows(tokenizer, ["the river", "near"])


class OwnStep(PreTrainedTokenizerFast):
    """A tokenizer that does something of its own with what the backend gave."""

    def _convert_encoding(self, *arguments, **options):
        found, encodings = super()._convert_encoding(*arguments, **options)
        return {**found, "input_ids": [[1, *ids] for ids in found["input_ids"]]}, encodings


def test_what_is_not_transformers_own_is_called():
    tokenizer = copy.deepcopy(tokenizer_of("wordpiece"))
    assert encode_one(tokenizer_of("characters"), "the river", None, {}) is None
    assert encode_one(tokenizer, "the river", None, {"is_split_into_words": True}) is None
    assert encode_one(tokenizer, ["the", "river"], None, {}) is None
    own = OwnStep(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    assert encode_one(own, "the river", None, {}) is None
    assert encode_rows(own, ["the river"])[0].inputs["input_ids"][0] == 1
    assert encode_one(tokenizer, "the river", None, {}) is not None
    tokenizer._encode_plus = lambda *arguments, **options: None
    assert encode_one(tokenizer, "the river", None, {}) is None


def test_a_long_text_is_warned_of_once():
    tokenizer = copy.deepcopy(tokenizer_of("wordpiece"))
    tokenizer.model_max_length = 4
    told = "sequence-length-is-longer-than-the-specified-maximum"
    assert encode_one(tokenizer, "the river", None, {}) and told not in tokenizer.deprecation_warnings
    encode_one(tokenizer, "the river near the bank", None, {})
    assert tokenizer.deprecation_warnings[told]


def test_a_wrong_option_is_told_as_the_call_tells_it():
    tokenizer = copy.deepcopy(tokenizer_of("wordpiece"))
    with pytest.raises(ValueError) as expected:
        tokenizer(["the river"], truncation="sideways")
    with pytest.raises(ValueError) as found:
        encode_one(tokenizer, "the river", None, {"truncation": "sideways"})
    assert str(found.value) == str(expected.value)
