"""Confidences of characters, words and segments."""

import math
import random

import pytest
import torch

from afterlogits.postprocess.audio import (
    character_confidences,
    collapse_ctc,
    ctc_alphabet,
    frame_probabilities,
    score_segment,
    token_word_confidences,
    word_confidences,
)
from tests.postprocess.audio.ctc_cases import draw_ids

ALPHABET = ctc_alphabet(["_", "a", "b", "|"], blank="_")


def test_means_of_frames_and_of_characters():
    """a a _ b | a: a has .9 and .7, b .5, the last a .4; the word "ab" has (.8 + .5) / 2."""
    probabilities = torch.tensor([[0.9, 0.7, 0.99, 0.5, 0.6, 0.4]])
    found = collapse_ctc(torch.tensor([[1, 1, 0, 2, 3, 1]]), ALPHABET)
    assert character_confidences(probabilities, found).tolist() == pytest.approx([0.8, 0.5, 0.6, 0.4])
    assert word_confidences(probabilities, found).tolist() == pytest.approx([0.65, 0.4])
    assert word_confidences(probabilities, found, lowest=True).tolist() == pytest.approx([0.5, 0.4])


def test_frame_probabilities_are_the_softmax_s_largest():
    logits = torch.randn(2, 9, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(frame_probabilities(logits), logits.softmax(-1).amax(-1))
    assert frame_probabilities(logits.bfloat16()).dtype == torch.float32


def test_batches_by_hand():
    """200 drawn batches: every emission's frames averaged one by one."""
    for seed in range(200):
        ids = draw_ids(seed, size=4)
        probabilities = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed))
        lengths = torch.tensor([random.Random(seed + i).randint(0, ids.shape[1]) for i in range(len(ids))])
        found = collapse_ctc(ids, ALPHABET, lengths=lengths)
        confidences, place = character_confidences(probabilities, found).tolist(), 0
        for row, characters in zip(probabilities.double(), found.characters(), strict=True):
            for item in characters:
                frames = row[item["start_offset"] : item["end_offset"]]
                assert confidences[place] == pytest.approx(frames.mean().item())
                place += 1
        assert place == len(confidences)


def test_nothing_was_said():
    found = collapse_ctc(torch.zeros(2, 3).long(), ALPHABET)
    assert character_confidences(torch.ones(2, 3), found).shape == (0,)
    assert word_confidences(torch.ones(2, 3), found).shape == (0,)


def test_segments():
    """exp of the mean is the geometric mean: sqrt(.9 * .4); a loop compresses better than text that does not repeat."""
    scores = score_segment([math.log(0.9), math.log(0.4)], "la " * 50)
    assert scores.confidence == pytest.approx(math.sqrt(0.36))
    assert scores.compression_ratio > 5 > 1.5 > score_segment([0.0], "the sea and then").compression_ratio
    assert math.isnan(score_segment([], "").avg_logprob)


def test_words_of_tokens():
    logprobs = torch.tensor([0.9, 0.4, 0.5]).log()
    found = token_word_confidences(logprobs, [(" the", 0, 1), (" sea", 2, 2)])
    assert found == [pytest.approx(0.6), pytest.approx(0.5)]
