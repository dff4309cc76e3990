"""Whisper's rule for time tokens, against transformers' processor on drawn histories and logits."""

import math
from types import SimpleNamespace

import pytest
import torch
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from afterlogits.decoding.processors.whisper_times import WhisperTimesStep

TIMES, END, SIZE = 12, 10, 20  # ids 0 to 9 are text, 10 ends, 11 says "no times", 12 to 19 are 0.00 to 0.14


def step(ids, *, begin=2, **options):
    return WhisperTimesStep(torch.tensor(ids), times_begin=TIMES, eos_token_id=END, begin_index=begin, **options)


def allowed(step, logits=None):
    found = step.apply(torch.zeros(1, SIZE) if logits is None else logits)
    return (found[0] > -math.inf).nonzero()[:, 0].tolist()


# golden


def test_the_first_token_is_a_time():
    """None later than two steps, where that is said."""
    assert allowed(step([[3, 3]], weigh=False)) == [12, 13, 14, 15, 16, 17, 18, 19]
    assert allowed(step([[3, 3]], weigh=False, latest_first=2)) == [12, 13, 14]


def test_times_come_in_pairs_and_do_not_go_back():
    """After the first time and after a pair comes text or the end; after text and a time its second, not below it, or
    the end; after text a time above the latest, or text."""
    text = [*range(11)]
    assert allowed(step([[3, 3, 13]], weigh=False)) == text
    assert allowed(step([[3, 3, 13, 5, 15]], weigh=False)) == [10, 15, 16, 17, 18, 19]
    assert allowed(step([[3, 3, 13, 5, 15, 15]], weigh=False)) == text
    assert allowed(step([[3, 3, 13, 5, 15, 15, 4]], weigh=False)) == [*text, 16, 17, 18, 19]


def test_times_win_together():
    """Eight times of probability p each weigh more than a text of 7 p, and less than one of 9 p."""
    for weight, winners in ((7.0, [*range(12, 20)]), (9.0, [*range(11), *range(12, 20)])):
        logits = torch.full((1, SIZE), -50.0)
        logits[0, TIMES:] = 0.0
        logits[0, 4] = math.log(weight)
        assert allowed(step([[3, 3, 5]]), logits) == winners


# parity


def theirs(begin, latest_first, weigh):
    config = SimpleNamespace(
        no_timestamps_token_id=TIMES - 1, eos_token_id=END, bos_token_id=END, max_initial_timestamp_index=latest_first
    )
    return WhisperTimeStampLogitsProcessor(config, begin, _detect_timestamp_from_logprob=weigh)


def drawn_logits(rows, draw):
    """Some with ties between the times' sum and a text, some with nothing left, NaN or infinities."""
    logits = torch.randn(rows, SIZE, generator=draw) * float(torch.rand(1, generator=draw)) * 8
    kind = int(torch.randint(0, 6, (1,), generator=draw))
    if kind == 0:
        logits[:, 4] = logits[:, TIMES:].logsumexp(-1)
    elif kind == 1:
        logits[0, TIMES:] = -math.inf
    elif kind == 2:
        logits[-1, :TIMES] = -math.inf
    elif kind == 3:
        logits[0, int(torch.randint(0, SIZE, (1,), generator=draw))] = (math.nan, math.inf)[rows % 2]
    return logits


@pytest.mark.parametrize("case", range(4))
def test_loops_of_drawn_tokens_as_transformers(case):
    """2,000 steps in all: histories grow by tokens that the rule allows or not, rows leave and come twice."""
    draw = torch.Generator().manual_seed(case)
    begin, latest_first, weigh = ((2, 3, True), (1, None, True), (3, 0, False), (2, None, True))[case]
    steps = 0
    while steps < 500:
        rows, given = int(torch.randint(1, 5, (1,), generator=draw)), int(torch.randint(0, 3, (1,), generator=draw))
        ids = torch.randint(0, SIZE, (rows, begin + given), generator=draw)
        processor, own = theirs(begin, latest_first, weigh), None
        own = WhisperTimesStep(
            ids, times_begin=TIMES, eos_token_id=END, begin_index=begin, latest_first=latest_first, weigh=weigh
        )
        for _ in range(12):
            logits = drawn_logits(len(ids), draw)
            want = processor(ids, logits.clone())
            torch.testing.assert_close(own.apply(logits.clone()), want, rtol=0, atol=0, equal_nan=True)
            best = want.nan_to_num(nan=0.0).argmax(-1)
            tokens = torch.where(torch.rand(len(ids), generator=draw) < 0.8, best, best % 7 + 8)
            ids = torch.cat([ids, tokens[:, None]], dim=1)
            own.advance(tokens)
            if float(torch.rand(1, generator=draw)) < 0.2:
                chosen = torch.randint(0, len(ids), (max(1, len(ids) - 1),), generator=draw)
                ids = ids[chosen]
                own.select_rows(chosen)
            steps += 1


def test_what_only_the_probabilities_can_tell_is_asked_of_them(monkeypatch):
    """A clear row goes without the softmax, a tie of the sum goes through it."""
    asked = []
    monkeypatch.setattr(WhisperTimesStep, "_by_probabilities", lambda self, logits: asked.append(1) or logits[:, 0] > 9)
    clear = torch.zeros(1, SIZE)
    clear[0, 4] = 30.0
    step([[3, 3, 5]]).apply(clear)
    assert not asked
    step([[3, 3, 5]]).apply(torch.full((1, SIZE), 0.0).index_fill(1, torch.tensor([4]), math.log(8)))
    assert asked
