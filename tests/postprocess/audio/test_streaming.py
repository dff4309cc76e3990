"""Streams: settled words never change, and all of them are the words of the whole recording."""

import random

import pytest
import torch

from afterlogits.postprocess.audio import AgreementStream, CtcStream, collapse_ctc, ctc_alphabet
from tests.postprocess.audio.ctc_cases import draw_ids

ALPHABET = ctc_alphabet(["_", "a", "b", "c", "|"], blank="_")


def test_a_word_settles_with_its_delimiter():
    """ "ab" is open until the delimiter at frame 3 is final; "c" is the tail."""
    stream = CtcStream(ALPHABET)
    first = stream.feed(torch.tensor([1, 1, 2, 4]), final_frames=3)
    assert (first.settled, first.tail) == ((), (("ab", 0, 3),))
    second = stream.feed(torch.tensor([4, 3, 3]), final_frames=2)
    assert (second.settled, second.tail) == ((("ab", 0, 3),), (("c", 4, 6),))
    assert stream.feed(torch.tensor([3, 0]), last=True).settled == (("c", 4, 6),)


def test_streams_are_the_whole():
    """500 drawn recordings in chunks of any length; the frames that are not final are given wrongly at first."""
    for seed in range(500):
        draw = random.Random(seed)
        ids = draw_ids(seed, size=5, rows=1)[0]
        stream, settled, place = CtcStream(ALPHABET), [], 0
        while True:
            size, extra = draw.randint(0, 9), draw.randint(0, 4)
            last = place + size >= len(ids)
            guess = torch.randint(0, 5, (0 if last else extra,), generator=torch.Generator().manual_seed(seed))
            part = torch.cat((ids[place : place + size], guess))
            found = stream.feed(part, final_frames=len(part) - len(guess), last=last)
            settled += found.settled
            assert not last or found.tail == ()
            place += size
            if last:
                break
        whole = collapse_ctc(ids[None], ALPHABET).words()[0]
        assert settled == [(word["word"], word["start_offset"], word["end_offset"]) for word in whole]


def test_frames_that_cannot_be_final():
    with pytest.raises(ValueError, match=r"^final_frames must be in \[0, 2\]; got 3$"):
        CtcStream(ALPHABET).feed(torch.tensor([1, 2]), final_frames=3)


def test_two_readings_that_agree():
    stream = AgreementStream()
    assert stream.feed(["the", "see"]) == ([], ["the", "see"])
    assert stream.feed(["the", "sea", "and"]) == (["the"], ["sea", "and"])
    assert stream.feed(["a", "sea", "and", "then"]) == ([], ["sea", "and", "then"])  # "the" stays settled
    assert stream.feed(["the", "sea", "and", "then"], last=True) == (["sea", "and", "then"], [])
    assert stream.settled == ["the", "sea", "and", "then"]
