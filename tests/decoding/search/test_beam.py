"""Beam search against exhaustive enumeration, and its candidates against the operations they stand for."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding.search import beam_candidates, beam_draws
from afterlogits.decoding.search.beam import beam_search
from afterlogits.decoding.search.beam_candidates import top_candidates
from afterlogits.decoding.search.beam_draws import by_score, sampled_candidates
from afterlogits.decoding.search.step_model import TableModel
from afterlogits.decoding.search.stopping import Stopping
from tests.builders.versions import known_stream

EOS = 0


def table(vocab_size: int, seed: int) -> Tensor:
    """Logits [V, V, V] of the next token after the last two."""
    return torch.randn((vocab_size,) * 3, generator=torch.Generator().manual_seed(seed)) * 2


def rule(logits: Tensor) -> object:
    return lambda ids: logits[ids[:, -2], ids[:, -1]]


def enumerate_all(
    logits: Tensor, prompt: list[int], steps: int, length_penalty: float
) -> list[tuple[float, list[int]]]:
    """Every sequence that ends with EOS or at the last step, best score first."""
    log_probs, found = logits.log_softmax(-1), {}
    for path in product(range(logits.shape[-1]), repeat=steps):
        length = path.index(EOS) + 1 if EOS in path else steps
        ids = prompt + list(path[:length])
        score = sum(float(log_probs[ids[i], ids[i + 1], ids[i + 2]]) for i in range(length))
        found[tuple(ids)] = score / length**length_penalty
    return sorted(((score, list(ids)) for ids, score in found.items()), key=lambda pair: -pair[0])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 4), st.integers(1, 3), st.sampled_from([0.0, 0.7, 1.0, 2.0]), st.integers(0, 10**6))
def test_enough_beams_find_what_enumeration_finds(vocab: int, steps: int, length_penalty: float, seed: int) -> None:
    """With a beam for every prefix and no early stop, the best hypotheses are the best of all sequences, in order."""
    logits, wanted = table(vocab, seed), 3
    num_beams = (vocab - 1) ** (steps - 1) * vocab
    prompts = [[1, vocab - 1], [vocab - 1, 1]]
    ids = torch.tensor(prompts).repeat_interleave(num_beams, dim=0)
    beams = beam_search(
        TableModel(ids, rule(logits)),  # type: ignore[arg-type]
        ids,
        Stopping(max_length=2 + steps, eos_token_id=torch.tensor([EOS])),
        num_beams=num_beams,
        max_length=2 + steps,
        length_penalty=length_penalty,
        early_stopping="never",
        num_return_sequences=min(wanted, num_beams),
        fill_token_id=EOS,
    )
    per_item = min(wanted, num_beams)
    for item, prompt in enumerate(prompts):
        expected = enumerate_all(logits, prompt, steps, length_penalty)[:per_item]
        for place, (score, sequence) in enumerate(expected):
            found = item * per_item + place
            length = len(sequence)
            assert beams.token_ids[found, :length].tolist() == sequence
            assert set(beams.token_ids[found, length:].tolist()) <= {EOS}
            assert abs(float(beams.scores[found]) - score) <= 1e-5 * max(1.0, abs(score))
            assert (beams.beam_indices[found] >= 0).sum() == length - 2


def test_one_beam_is_greedy() -> None:
    """K = 1 follows the argmax."""
    logits = table(4, 5)
    logits[..., EOS] = -50.0
    ids = torch.tensor([[1, 2]])
    beams = beam_search(
        TableModel(ids, rule(logits)),  # type: ignore[arg-type]
        ids,
        Stopping(max_length=7, eos_token_id=torch.tensor([EOS])),
        num_beams=1,
        max_length=7,
    )
    greedy = [1, 2]
    while len(greedy) < 7:
        greedy.append(int(logits[greedy[-2], greedy[-1]].argmax()))
    assert beams.token_ids.tolist() == [greedy]


class Moves(TableModel):
    """A table model that counts what it is asked to do with its rows."""

    def __init__(self, prompt_ids: Tensor, logits: Tensor):
        super().__init__(prompt_ids, rule(logits))  # type: ignore[arg-type]
        self.moved = 0

    def select_rows(self, rows: Tensor) -> None:
        self.moved += int(not torch.equal(rows, torch.arange(len(rows))))
        super().select_rows(rows)


def test_beams_that_stay_in_place_move_nothing() -> None:
    """Each token follows only itself, at different prices: no beam ever overtakes another."""
    logits = torch.full((4, 4, 4), -30.0)
    for token, price in ((1, 0.0), (2, -1.0), (3, -2.0)):
        logits[:, token, token] = 5.0
        logits[0, 0, token] = price
    ids = torch.zeros((3, 2), dtype=torch.long)
    model = Moves(ids, logits)
    beams = beam_search(
        model, ids, Stopping(max_length=6), num_beams=3, max_length=6, num_eos=0, num_return_sequences=3
    )
    assert beams.token_ids[:, 2:].tolist() == [[1] * 4, [2] * 4, [3] * 4]
    assert model.moved == 1  # the first step alone: every beam continues the one prompt


def by_the_book(log_probs: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab_size = log_probs.shape[-1]
    total = (log_probs.view(*scores.shape, vocab_size) + scores[:, :, None]).flatten(1)
    values, where = total.topk(count)
    return values, where // vocab_size, where % vocab_size


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(3, 40), st.integers(0, 10**6), st.sampled_from([0.0, 0.25, 1.0])
)
def test_candidates_are_topk_of_the_flat_vocabulary(batch: int, beams: int, vocab: int, seed: int, grid: float) -> None:
    """Values, parents and tokens bit for bit, also where a coarse grid makes most values tie or masks leave few."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((batch * beams, vocab), generator=generator) * 3
    if grid:
        logits = (logits / grid).round() * grid
        logits[torch.rand(logits.shape, generator=generator) < 0.3] = -float("inf")
        logits[:, 0] = 1.0
    scores = -torch.rand((batch, beams), generator=generator) * 10
    scores[:, 1:] -= 1e9 * (seed % 2)
    count = min(2 * beams, beams * vocab)
    log_probs = logits.log_softmax(-1)
    expected = by_the_book(log_probs, scores, count)
    for actual in (
        top_candidates(log_probs, scores, count),
        top_candidates(logits, scores, count, normalized=False),
    ):
        assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from([4096, 4097, 5003, 12_800]),
    st.sampled_from([0.05, 1.0, 20.0]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_candidates_of_a_large_vocabulary_come_from_their_groups(
    batch: int, beams: int, vocab: int, spread: float, masked: bool, seed: int
) -> None:
    """Bit for bit from the groups alone, the short last one included; the whole is formed where values tie, only."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((batch * beams, vocab), generator=generator) * spread
    if masked:
        logits[:, torch.randint(vocab, (vocab // 2,), generator=generator)] = -float("inf")
    logits[-1, -1] = logits.max() + spread
    scores = -torch.rand((batch, beams), generator=generator) * 10
    scores[:, 1:] -= 1e9 * (seed % 2)
    count = (2 + seed % 3) * beams
    if seed % 5 == 0:  # the best of each of C + 1 groups, the last two of them equal
        logits[0, : 64 * (count + 1) : 64] = 20 * spread + 30 - torch.arange(count + 1).clamp(max=count - 1)
    log_probs = logits.log_softmax(-1)
    values, _, _ = by_the_book(log_probs, scores, count + 1)
    ties = int((values[:, 1:] == values[:, :-1]).any(dim=1).sum())
    formed = []

    def counted(logits: Tensor, scores: Tensor, count: int, normalized: bool) -> object:
        formed.append(scores.shape[0])
        return by_the_book(logits if normalized else logits.log_softmax(-1), scores, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam_candidates, "_by_the_book", counted)
        found = top_candidates(log_probs, scores, count)
        raw = top_candidates(logits, scores, count, normalized=False)
    expected = by_the_book(log_probs, scores, count)
    for actual in (found, raw):
        assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))
    assert formed == ([ties, ties] if ties else [])


def test_another_order_of_subtractions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where log-softmax rounds elsewhere than after each subtraction, transformers' own operations run."""
    logits, scores = torch.randn(4, 5000, generator=torch.Generator().manual_seed(3)), torch.zeros(2, 2)

    def other(values: Tensor, dim: int = -1, out: Tensor | None = None) -> Tensor:
        return values - values.logsumexp(dim, keepdim=True)

    monkeypatch.setattr(torch, "log_softmax", other)
    beam_candidates._subtracts_in_order.cache_clear()
    try:
        assert not beam_candidates._subtracts_in_order()
        found = top_candidates(logits, scores, 4, normalized=False)
        expected = by_the_book(other(logits), scores, 4)
    finally:
        beam_candidates._subtracts_in_order.cache_clear()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([20, 100, 5000, 20_000]),
    st.sampled_from([1, 5, 50, 127, 128, 300]),
    st.sampled_from([0.0, 0.5, 40.0]),
    st.integers(0, 10**6),
)
def test_sampled_candidates_follow_the_stream(
    batch: int, beams: int, vocab: int, left: int, grid: float, seed: int
) -> None:
    """Drawn without replacement, in the order drawn, leaving the stream where multinomial leaves it: also with equal
    logits, logits so far apart that probabilities vanish, and beams that are out."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((batch * beams, vocab), generator=generator) * 3
    if grid:
        logits = (logits / 0.5).round() * grid
    kept = logits.topk(min(left, vocab)).values[:, -1:]
    log_probs = logits.masked_fill(logits < kept, -torch.inf).log_softmax(-1)
    scores = -torch.rand((batch, beams), generator=generator) * 10
    scores[:, 1:] -= 1e9 * (seed % 2)
    count = min(2 * beams, beams * vocab)

    total = (log_probs.view(batch, beams, vocab) + scores[:, :, None]).flatten(1)
    torch.manual_seed(seed)
    where = torch.multinomial(total.softmax(-1), count)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    values, parent, token = sampled_candidates(log_probs, scores, count)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(parent * vocab + token, where)
    assert torch.equal(values, total.gather(1, where))


def test_drawn_candidates_in_the_order_of_their_scores() -> None:
    """Item 0 was drawn as -3, -1, -2: the second first. Scores, beams and tokens stay together."""
    drawn = torch.tensor([[-3.0, -1.0, -2.0]]), torch.tensor([[0, 1, 0]]), torch.tensor([[7, 8, 9]])
    scores, beam, token = by_score(drawn)
    assert (scores.tolist(), beam.tolist(), token.tolist()) == ([[-1, -2, -3]], [[1, 0, 0]], [[8, 9, 7]])


@known_stream
def test_few_candidates_are_drawn_without_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a top-k of 50 the whole distribution is never made: the operations over [K * V] do not run."""
    logits = torch.randn((6, 5000), generator=torch.Generator().manual_seed(0)) * 3
    log_probs = logits.masked_fill(logits < logits.topk(50).values[:, -1:], -torch.inf)
    monkeypatch.setattr(beam_draws, "_in_full", lambda *_: pytest.fail("drawn in full"))
    sampled_candidates(log_probs, -torch.rand(2, 3), 6)
