"""Forced alignment, against plain loops over the states of one clip."""

import math
import random

import pytest
import torch

from afterlogits.postprocess.audio import align_ctc
from tests.oracles.ctc_paths import align


def draw_clips(seed):
    """A batch of clips with texts of their own lengths: tied scores, repeats, stars, texts that do not fit."""
    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    shape = batch_size, frames, vocab_size = draw.randint(1, 4), draw.randint(1, 14), draw.randint(2, 5)
    places = draw.randint(0, 6)
    logprobs = torch.randn(shape, generator=generator, dtype=torch.float64 if seed % 2 else torch.float32)
    logprobs = logprobs.round() if seed % 3 == 0 else logprobs.log_softmax(-1)
    targets = torch.randint(1, vocab_size, (batch_size, places), generator=generator)
    if seed % 5 == 0:
        targets[torch.rand(targets.shape, generator=generator) < 0.3] = -1
    lengths = torch.randint(0, frames + 1, (batch_size,), generator=generator)
    return logprobs, targets, lengths, torch.randint(0, places + 1, (batch_size,), generator=generator)


# golden


def test_two_tokens_and_a_blank_between():
    """Probabilities .8 of token 1, blank, token 2: frames 0 and 2, and log .8 three times."""
    logprobs = torch.tensor([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]]).log()
    found = align_ctc(logprobs, torch.tensor([[1, 2]]))
    assert found.tokens.tolist() == [[0, -1, 1]]
    assert (found.starts.tolist(), found.ends.tolist()) == ([[0, 2]], [[1, 3]])
    assert found.scores.item() == pytest.approx(3 * math.log(0.8))
    assert found.token_logprobs.tolist() == [[pytest.approx(math.log(0.8))] * 2]


def test_equal_neighbours_need_a_blank():
    """ "1 1" over two frames does not fit; over three it does, with the blank in the middle."""
    logprobs = torch.full((2, 3, 2), math.log(0.5))
    found = align_ctc(logprobs, torch.tensor([[1, 1], [1, 1]]), lengths=torch.tensor([2, 3]))
    assert found.scores.tolist() == [-math.inf, pytest.approx(3 * math.log(0.5))]
    assert found.starts.tolist() == [[-1, -1], [0, 2]]
    assert math.isnan(found.token_logprobs[0, 0])


def test_a_star_takes_what_is_not_known():
    """Token 1, anything, token 2, where the middle frames are those of token 3."""
    logprobs = torch.full((1, 5, 4), 0.01)
    for frame, token in enumerate([1, 3, 3, 3, 2]):
        logprobs[0, frame, token] = 0.97
    found = align_ctc(logprobs.log(), torch.tensor([[1, -1, 2]]))
    assert (found.starts.tolist(), found.ends.tolist()) == ([[0, 1, 4]], [[1, 4, 5]])
    assert found.token_logprobs[0, 1] == 0.0


def test_words():
    """Tokens 0 and 1 are word 0, token 2 the delimiter, token 3 word 1; probabilities count by frames."""
    logprobs = torch.full((1, 5, 4), 0.1)
    for frame, (token, p) in enumerate([(1, 0.4), (2, 0.9), (2, 0.9), (3, 0.7), (1, 0.5)]):
        logprobs[0, frame, token] = p
    found = align_ctc(logprobs.log(), torch.tensor([[1, 2, 3, 1]]))
    (first, second) = found.words([[0, 0, -1, 1]])[0]
    assert first == (0, 0, 3, pytest.approx((0.4 * 0.9 * 0.9) ** (1 / 3)))
    assert second == (1, 4, 5, pytest.approx(0.5))


# property


def test_same_as_plain_loops():
    """2,000 drawn batches: every path and every score."""
    for seed in range(2000):
        logprobs, targets, lengths, target_lengths = draw_clips(seed)
        found = align_ctc(logprobs, targets, lengths=lengths, target_lengths=target_lengths)
        for row, (frames, places) in enumerate(zip(lengths.tolist(), target_lengths.tolist(), strict=True)):
            path, score = align(logprobs[row, :frames].tolist(), targets[row, :places].tolist())
            if path is None:
                assert found.scores[row] == -math.inf and (found.starts[row] == -1).all()
                continue
            assert found.tokens[row].tolist() == path + [-1] * (logprobs.shape[1] - frames)
            assert found.scores[row].item() == pytest.approx(score, rel=1e-12)
            for place in range(places):
                inside = [frame for frame, at in enumerate(path) if at == place]
                assert (found.starts[row, place], found.ends[row, place]) == (inside[0], inside[-1] + 1)


def test_half_precision_is_read_as_it_is():
    logprobs = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1).bfloat16()
    targets = torch.tensor([[1, 2], [3, 3]])
    assert torch.equal(align_ctc(logprobs, targets).tokens, align_ctc(logprobs.float(), targets).tokens)


def test_other_devices_send_what_the_texts_need(monkeypatch):
    """The way for other devices, taken on this one: the same frames and numbers."""
    for seed in range(60):
        logprobs, targets, *lengths = draw_clips(seed)
        here = align_ctc(logprobs, targets, lengths=lengths[0], target_lengths=lengths[1])
        with monkeypatch.context() as patch:
            patch.setattr("afterlogits.postprocess.audio.alignment.HOST", "elsewhere")
            there = align_ctc(logprobs, targets, lengths=lengths[0], target_lengths=lengths[1])
        assert torch.equal(here.tokens, there.tokens) and torch.equal(here.scores, there.scores)
        torch.testing.assert_close(here.token_logprobs, there.token_logprobs, rtol=0, atol=0, equal_nan=True)


def test_blocks_of_frames_are_the_frames(monkeypatch):
    logprobs, targets, lengths, _ = draw_clips(7)
    whole = align_ctc(logprobs, targets, lengths=lengths)
    monkeypatch.setattr("afterlogits.postprocess.audio.alignment.BLOCK", 1)
    assert torch.equal(align_ctc(logprobs, targets, lengths=lengths).tokens, whole.tokens)


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprobs": torch.zeros(3, 4)}, "logprobs must be [B, T, V]; got shape [3, 4]"),
        ({"targets": torch.zeros(3, 2).long()}, "targets must be [2, L]; got shape [3, 2]"),
        ({"blank": 4}, "blank must be in [0, 4); got 4"),
        (
            {"targets": torch.tensor([[1, 2], [3, 0]])},
            "targets must be ids in [0, 4) but the blank, or -1; got 0 in row 1",
        ),
        (
            {"targets": torch.tensor([[9, 2], [3, 1]])},
            "targets must be ids in [0, 4) but the blank, or -1; got 9 in row 0",
        ),
        ({"lengths": torch.zeros(3)}, "lengths must be [2]; got shape [3]"),
        ({"target_lengths": torch.zeros(3)}, "target_lengths must be [2]; got shape [3]"),
    ],
)
def test_errors(change, message):
    arguments = {"logprobs": torch.zeros(2, 3, 4), "targets": torch.ones(2, 2).long(), **change}
    with pytest.raises(ValueError) as caught:
        align_ctc(arguments.pop("logprobs"), arguments.pop("targets"), **arguments)
    assert str(caught.value) == message
