"""Whisper's tokens to segments and words: cases worked out by hand, and transformers' own reading of drawn outputs."""

import itertools
import re

import numpy as np
import pytest
import torch
import transformers

from afterlogits.postprocess.audio import WhisperOutput, decode_whisper
from tests.postprocess.audio.whisper_cases import (
    draw_outputs,
    our_reading,
    transformers_reading,
    vocabulary_of,
    whisper_tokenizer,
)

VERSION_4 = transformers.__version__.startswith("4.")
TOKENIZER = whisper_tokenizer()
VOCABULARY = vocabulary_of(TOKENIZER)


def tokens(written):
    """Ids of a text with times written as <1.50>."""
    ids = []
    for part in re.split(r"(<\d+\.\d\d>)", written):
        if re.fullmatch(r"<\d+\.\d\d>", part):
            ids.append(VOCABULARY.timestamp_begin + round(float(part[1:-1]) / 0.02))
        elif part:
            ids += TOKENIZER(part, add_special_tokens=False).input_ids
    return np.array(ids, dtype=np.int64)


def segments(*outputs):
    """Chunks of outputs written out, each alone or with its stride."""
    made = [
        WhisperOutput(tokens(each)) if isinstance(each, str) else WhisperOutput(tokens(each[0]), each[1])
        for each in outputs
    ]
    found = decode_whisper(made, VOCABULARY, return_timestamps=True)
    assert our_reading(found, True, False) == transformers_reading(TOKENIZER, made, True, False)
    return [(chunk["timestamp"], chunk["text"]) for chunk in found.chunks()], found.unfinished


# golden


def test_a_last_segment_without_an_end():
    """The pair at 1.50 ends one segment and begins the next, which nothing ends."""
    found = segments("<0.00> the sea<1.50><1.50> and")
    assert found == ([((0.0, 1.5), " the sea"), ((1.5, None), " and")], True)


def test_a_time_given_twice_begins_once():
    """The second 1.00 cannot end a segment of no length."""
    assert segments("<1.00><1.00> the<2.00>") == ([((1.0, 2.0), " the")], False)


def test_times_that_start_again():
    """After a pair, the new window begins where the last segment ended (28.00); after a single time, at 30.00."""
    assert segments("<0.00> a<28.00><28.00><0.00> b<3.00>")[0][-1] == ((28.0, 31.0), " b")
    assert segments("<0.00> a<28.00><0.00> b<3.00>")[0][-1] == ((30.0, 33.0), " b")


def test_two_chunks_that_overlap():
    """10 s with 2 s on the right and 6 s with 2 s on the left: the second begins at 8 - 2 = 6 s."""
    first, second = "<0.00> the sea<6.00><6.00> and then<9.00>", "<0.00> and then<3.00><3.00> on<5.00>"
    found, _ = segments((first, (10, 0, 2)), (second, (6, 2, 0)))
    assert found == [((0, 6), " the sea"), ((6, 9), " and then"), ((9, 11), " on")]


def test_nothing_said():
    """No tokens give no segment; two times alone give one without text."""
    assert segments("") == ([], False)
    assert segments("<0.00><3.00>") == ([((0.0, 3.0), "")], False)


def test_words_begin_where_the_token_before_ends():
    """Tokens " the", " s", "e", "a" end at .2, .5, .6, .8 after a time that ends at .1."""
    ids = tokens("<0.00> the sea<1.00>")
    output = WhisperOutput(ids, None, torch.tensor([0.1, 0.2, 0.5, 0.6, 0.8, 1.0]))
    found = decode_whisper([output], VOCABULARY, return_timestamps="word")
    assert found.words() == [
        {"text": " the", "timestamp": (0.1, 0.2)},
        {"text": " sea", "timestamp": (0.2, 0.8)},
    ]


def test_a_change_of_language_ends_a_segment():
    """Without times: English text, then French text; the texts are not merged."""
    english, french = (index for index, name in sorted(VOCABULARY.languages.items()) if name in ("english", "french"))
    made = [WhisperOutput(np.array([language, *tokens(" the sea")])) for language in (english, french)]
    found = decode_whisper(made, VOCABULARY)
    assert [chunk["language"] for chunk in found.chunks(times=False, language=True)] == ["english", "french"]
    assert found.text == " the sea the sea"


# parity


@pytest.mark.parametrize("timestamps", [False, True, "word"])
def test_same_as_transformers(timestamps):
    """700 drawn recordings of 1 to 4 chunks with every kind of times, with and without languages."""
    for seed, language in itertools.product(range(700), (False, True)):
        outputs = draw_outputs(seed, VOCABULARY)
        found = decode_whisper(outputs, VOCABULARY, return_timestamps=timestamps)
        try:
            expected = transformers_reading(TOKENIZER, outputs, timestamps, language)
        except IndexError:
            assert VERSION_4, "version 5 no longer stops at bytes that are no character"
            continue
        assert our_reading(found, timestamps, language) == expected, seed


def test_tensors_and_arrays_alike():
    """Ids and times may be tensors; nothing is changed."""
    outputs = draw_outputs(3, VOCABULARY)
    tensors = [WhisperOutput(torch.tensor(o.token_ids), o.stride, torch.tensor(o.token_times)) for o in outputs]
    before = [o.token_ids.copy() for o in outputs]
    one, other = (decode_whisper(o, VOCABULARY, return_timestamps="word") for o in (outputs, tensors))
    assert one.words() == other.words()
    assert all(np.array_equal(a, o.token_ids) for a, o in zip(before, outputs, strict=True))


# errors


def test_words_need_times():
    with pytest.raises(ValueError) as caught:
        decode_whisper([WhisperOutput(tokens(" a"))], VOCABULARY, return_timestamps="word")
    assert str(caught.value) == "token_times must be given to time words; got None in output 0"
    with pytest.raises(ValueError) as caught:
        decode_whisper([WhisperOutput(tokens(" a"))], VOCABULARY).words()
    assert str(caught.value) == "token_times must be given with every output to time words; got None"
