"""Group and constrained beams, contrastive search and DoLa on tables of at most 4 tokens, against slow searches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding.search.beam_constraints import PhrasalConstraint
from afterlogits.decoding.search.constrained_beam import constrained_beam_search
from afterlogits.decoding.search.contrastive import contrastive_search
from afterlogits.decoding.search.decode_loop import greedy
from afterlogits.decoding.search.dola import dola
from afterlogits.decoding.search.group_beam import group_beam_search
from afterlogits.decoding.search.history import History
from afterlogits.decoding.search.step_model import TableModel
from afterlogits.decoding.search.stopping import Stopping
from tests.oracles import search

EOS = 0


def tables(vocab: int, seed: int, count: int = 1) -> Tensor:
    """Logits [count, V, V, V] of the next token after the last two."""
    return torch.randn((count, *(vocab,) * 3), generator=torch.Generator().manual_seed(seed)) * 2


class Layered(TableModel):
    """A table model with hidden states that depend on the last two tokens, and logits of earlier layers."""

    def __init__(self, prompt_ids: Tensor, logits: Tensor, hidden: Tensor, early: Tensor | None = None):
        super().__init__(prompt_ids, lambda ids: logits[ids[:, -2], ids[:, -1]].clone())
        self.hidden, self.early, self.steps = hidden, early, 0

    def step(self, token_ids: Tensor) -> Tensor:
        self.steps += 1
        return super().step(token_ids)

    def last_hidden(self) -> Tensor:
        before = torch.cat((torch.zeros_like(self.token_ids[:, :1]), self.token_ids[:, :-1]), dim=1)
        states = self.hidden[before, self.token_ids]
        return states[:, -1:] if self.steps else states

    def early_logits(self, layers: object) -> Tensor:
        assert self.early is not None
        return self.early[:, self.token_ids[:, -2], self.token_ids[:, -1]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    vocab=st.sampled_from([3, 4]),
    steps=st.integers(1, 4),
    groups=st.integers(2, 3),
    size=st.integers(1, 2),
    penalty=st.sampled_from([0.0, 0.5, 3.0]),
    length_penalty=st.sampled_from([0.0, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_group_beams(
    vocab: int, steps: int, groups: int, size: int, penalty: float, length_penalty: float, seed: int
) -> None:
    """All hypotheses of all groups, in order, for two prompts at once."""
    size = 1 if vocab == 3 else size  # the first step offers ``vocab`` continuations, and 2 * size are looked at
    (logits,) = tables(vocab, seed)
    prompts, num_beams = [[1, vocab - 1], [vocab - 1, 1]], groups * size
    ids = torch.tensor(prompts).repeat_interleave(num_beams, dim=0)
    found = group_beam_search(
        TableModel(ids, lambda ids: logits[ids[:, -2], ids[:, -1]]),
        ids,
        Stopping(max_length=2 + steps, eos_token_id=torch.tensor([EOS])),
        num_beams=num_beams,
        num_beam_groups=groups,
        diversity_penalty=penalty,
        length_penalty=length_penalty,
        num_return_sequences=num_beams,
        eos_token_id=torch.tensor([EOS]),
        pad_token_id=EOS,
    )
    for item, prompt in enumerate(prompts):
        expected = search.group_search(
            logits, prompt, steps, groups=groups, size=size, penalty=penalty, eos=EOS, pad=EOS,
            length_penalty=length_penalty,
        )  # fmt: skip
        rows = slice(item * num_beams, (item + 1) * num_beams)
        scores = torch.tensor([score for score, _ in expected])
        torch.testing.assert_close(found.scores[rows], scores, rtol=1e-5, atol=1e-5)
        if penalty:  # without a penalty the groups are equal, and equal scores stand in any order
            for row, (_, sequence) in zip(found.token_ids[rows].tolist(), expected, strict=True):
                assert row[: len(sequence)] == sequence
                assert set(row[len(sequence) :]) <= {EOS}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    vocab=st.integers(3, 4),
    steps=st.integers(1, 4),
    phrase=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    second=st.booleans(),
    length_penalty=st.sampled_from([0.0, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_constrained_beams(
    vocab: int, steps: int, phrase: list[int], second: bool, length_penalty: float, seed: int
) -> None:
    """With a beam for every prefix in every bank, the first answer is the best of all sequences with the phrases."""
    phrases = [[1], [2]] if second else [phrase]
    (logits,) = tables(vocab, seed)
    prompts = [[vocab - 1, vocab - 1], [0, vocab - 1]]
    num_beams = (vocab - 1) ** steps * (sum(map(len, phrases)) + 1)
    ids = torch.tensor(prompts).repeat_interleave(num_beams, dim=0)
    found = constrained_beam_search(
        TableModel(ids, lambda ids: logits[ids[:, -2], ids[:, -1]]),
        ids,
        Stopping(max_length=2 + steps, eos_token_id=torch.tensor([EOS])),
        constraints=[PhrasalConstraint(one) for one in phrases],
        num_beams=num_beams,
        length_penalty=length_penalty,
        eos_token_id=torch.tensor([EOS]),
        pad_token_id=EOS,
    )
    for item, prompt in enumerate(prompts):
        expected = search.best_with_phrases(
            logits, prompt, steps, phrases=phrases, eos=EOS, length_penalty=length_penalty
        )
        if expected is None:
            continue
        score, sequence = expected
        row = found.token_ids[item].tolist()
        assert row[: len(sequence)] == sequence
        assert set(row[len(sequence) :]) <= {EOS}
        assert float(found.scores[item]) == pytest.approx(score, rel=1e-5, abs=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    vocab=st.integers(2, 4),
    steps=st.integers(1, 4),
    top_k=st.integers(1, 4),
    alpha=st.sampled_from([0.0, 0.3, 0.6, 0.9]),
    padded=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_contrastive(vocab: int, steps: int, top_k: int, alpha: float, padded: bool, seed: int) -> None:
    """Row by row; the hidden state of padding counts for nothing."""
    (logits,) = tables(vocab, seed)
    hidden = torch.randn((vocab, vocab, 3), generator=torch.Generator().manual_seed(seed + 1))
    prompt = torch.randint(0, vocab, (3, 3), generator=torch.Generator().manual_seed(seed + 2))
    first = [0, 1 if padded else 0, 0]
    mask = torch.ones_like(prompt)
    mask[1, : first[1]] = 0
    top_k = min(top_k, vocab)
    model = Layered(prompt, logits, hidden)
    output = contrastive_search(
        model, History(prompt), Stopping(max_length=3 + steps), penalty_alpha=alpha, top_k=top_k, prompt_mask=mask
    )
    expected = [
        search.contrastive(logits, hidden, row, start, steps, alpha=alpha, top_k=top_k)
        for row, start in zip(prompt.tolist(), first, strict=True)
    ]
    assert output.tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    vocab=st.integers(2, 4),
    steps=st.integers(1, 4),
    layers=st.integers(1, 3),
    rows=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_dola(vocab: int, steps: int, layers: int, rows: int, seed: int) -> None:
    """One layer is chosen for the whole batch at every step."""
    logits, *rest = tables(vocab, seed, 1 + layers)
    early = torch.stack(rest)
    prompt = torch.randint(0, vocab, (rows, 2), generator=torch.Generator().manual_seed(seed + 2))
    model = Layered(prompt, logits, torch.zeros(vocab, vocab, 1), early)
    output = dola(model, History(prompt), greedy, Stopping(max_length=2 + steps), layers=list(range(layers)))
    ids = prompt.tolist()
    for _ in range(steps):
        final = [logits[row[-2], row[-1]].tolist() for row in ids]
        before = [[layer[row[-2], row[-1]].tolist() for row in ids] for layer in early]
        for row, scores in zip(ids, search.dola_scores(final, before), strict=True):
            row.append(scores.index(max(scores)))
    assert output.tolist() == ids
