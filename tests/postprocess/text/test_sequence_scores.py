"""Log-probabilities of given texts, against a plain log-softmax."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import label_logprobs, score_sequences


def test_perplexity_by_hand():
    """Two scored tokens of probability 1/2 and 1/8: log 1/16, and a perplexity of 4."""
    logits = torch.tensor([[[0.0, 0.0], [math.log(7), 0.0], [0.0, 0.0]]])
    found = score_sequences(logits, torch.tensor([[0, 1, 1]]))
    assert found.scored.tolist() == [[False, True, True]]
    torch.testing.assert_close(found.logprob, torch.tensor([math.log(1 / 16)]))
    record = found.records()[0]
    assert record["num_tokens"] == 2
    assert math.isclose(record["perplexity"], 4.0, rel_tol=1e-6)


def test_nothing_to_score():
    """One token has no prediction before it: a perplexity of NaN, a sum of 0. No rows give no records."""
    found = score_sequences(torch.zeros(1, 1, 3), torch.tensor([[2]]))
    assert found.logprob.item() == 0.0
    assert math.isnan(found.perplexity.item())
    assert score_sequences(torch.zeros(0, 2, 3), torch.zeros(0, 2).long()).records() == []


def test_impossible_label():
    """A label of -inf logit has log-probability -inf."""
    assert label_logprobs(torch.tensor([[0.0, -math.inf]]), torch.tensor([1])).item() == -math.inf


@settings(max_examples=80, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), shift=st.booleans(), side=st.sampled_from(["left", "right"]))
def test_equals_log_softmax(seed, shift, side):
    """Padding on either side, ignored labels, half precision."""
    generator = torch.Generator().manual_seed(seed)
    batch, time, vocab_size = 3, 6, 11
    logits = torch.randn(batch, time, vocab_size, generator=generator) * 4
    if seed % 3 == 0:
        logits = logits.bfloat16()
    ids = torch.randint(0, vocab_size, (batch, time), generator=generator)
    ids[torch.rand(batch, time, generator=generator) < 0.2] = -100
    lengths = torch.randint(0, time + 1, (batch, 1), generator=generator)
    mask = torch.arange(time) < lengths if side == "right" else torch.arange(time) >= time - lengths
    found = score_sequences(logits, ids, mask.long(), shift=shift)
    logprobs = logits.float().log_softmax(-1)
    for i in range(batch):
        total, count = 0.0, 0
        for t in range(time):
            source = t - 1 if shift else t
            if source < 0 or not mask[i, t] or not mask[i, source] or ids[i, t] == -100:
                continue
            total, count = total + logprobs[i, source, ids[i, t]].item(), count + 1
        assert math.isclose(found.logprob[i].item(), total, rel_tol=1e-5, abs_tol=1e-5)
        assert found.num_tokens[i].item() == count


def test_chunks_join(monkeypatch):
    """One row at a time gives what one pass gives."""
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(10).view(2, 5) % 7
    whole = score_sequences(logits, ids)
    monkeypatch.setattr("afterlogits.postprocess.text.sequence_scores.VALUES_AT_ONCE", 1)
    torch.testing.assert_close(score_sequences(logits, ids).token_logprobs, whole.token_logprobs)


def test_errors():
    """What is wrong, what was wanted, what came."""
    with pytest.raises(ValueError) as caught:
        score_sequences(torch.zeros(2, 1, 3), torch.tensor([[0], [3]]))
    assert str(caught.value) == "token_ids must be below 3 or -100; got others in row 1"
    with pytest.raises(ValueError) as caught:
        label_logprobs(torch.zeros(2, 3), torch.zeros(3).long())
    assert str(caught.value) == "labels must be [2]; got shape [3]"
