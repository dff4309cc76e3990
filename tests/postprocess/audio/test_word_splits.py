"""Whisper's tokens to words, against transformers' splitting by growing pieces."""

import random

import pytest
import transformers
from transformers.models.whisper.tokenization_whisper import _combine_tokens_into_words

from afterlogits.postprocess.audio import split_words
from tests.postprocess.audio.whisper_cases import vocabulary_of, whisper_tokenizer

VERSION_4 = transformers.__version__.startswith("4.")
TOKENIZER = whisper_tokenizer()
VOCABULARY = vocabulary_of(TOKENIZER)
TEXTS = [
    " the sea, and",
    ' "the" (sea).',
    " café €!",
    "über 東京です。",
    " a — b…",
    "¿qué? ¡sí!",
    " it's [no] {way}",
    "\n \t x",
    "👩‍👩‍👧 🇫🇷",
]


def words(text, language=None):
    return [
        word for word, _, _ in split_words(TOKENIZER(text, add_special_tokens=False).input_ids, VOCABULARY, language)
    ]


# golden


def test_punctuation_joins_its_word():
    """Opening marks go with the word after them, closing ones with the word before."""
    assert words(' "the" (sea).') == [' "the"', " (sea)."]
    assert words(" the sea, and") == [" the", " sea,", " and"]


def test_bytes_become_whole_characters():
    assert words(" café €!") == [" café", " €!"]


def test_a_character_cut_off_closes_as_it_is():
    """The first byte of two of é: nothing after it can complete it."""
    ids = TOKENIZER(" café", add_special_tokens=False).input_ids[:-1]
    assert [word for word, _, _ in split_words(ids, VOCABULARY)] == [" caf\ufffd"]


def test_languages_without_spaces_split_at_characters():
    assert words("the", "thai") == ["the"]  # one token
    assert words("東京", "japanese") == ["東", "京"]
    assert words("東京") == ["東京"]


# parity


def assert_same_as_transformers(ids, language):
    found = split_words(ids, VOCABULARY, language)
    try:
        texts, _, indices = _combine_tokens_into_words(TOKENIZER, list(ids), language)
    except IndexError:
        assert VERSION_4, "version 5 no longer stops at bytes that are no character"
        return
    assert found == [(text, places[0], places[-1]) for text, places in zip(texts, indices, strict=True)]


@pytest.mark.parametrize("language", ["english", "japanese"])
def test_same_as_transformers(language):
    """1,100 drawn sequences for each kind of language: tokens of texts, cut anywhere, and random bytes."""
    draw = random.Random(0)
    pool = [index for text in TEXTS for index in TOKENIZER(text, add_special_tokens=False).input_ids]
    for _ in range(300):
        start = draw.randrange(len(pool))
        assert_same_as_transformers(pool[start : start + draw.randint(0, 25)], language)
    for size in (4, 30, 268):
        for _ in range(250):
            first = draw.randrange(268 - size + 1)
            assert_same_as_transformers([first + draw.randrange(size) for _ in range(draw.randint(1, 12))], language)
    for _ in range(50):
        text = "".join(draw.choice(TEXTS) for _ in range(3))
        assert_same_as_transformers(TOKENIZER(text, add_special_tokens=False).input_ids, language)
