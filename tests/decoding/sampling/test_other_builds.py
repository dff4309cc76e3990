"""Another build of torch: other noise, or another order of equal logits. Tokens stay those of transformers."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from afterlogits.decoding import sample
from afterlogits.decoding.kernels import row_noise, torch_stream
from afterlogits.decoding.kernels.torch_stream import stream_is_known
from afterlogits.decoding.search.beam_candidates import top_candidates
from afterlogits.decoding.search.beam_draws import sampled_candidates
from tests.builders.logits_cases import language_model
from tests.builders.reversed_ties import require_order_of_this_build
from tests.builders.versions import known_stream
from tests.oracles.race import library_draw
from tests.programs.draw_parity import processors_for

OPTIONS: list[dict[str, Any]] = [
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None},
    {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "min_p": None},
    {"temperature": 1.3, "top_k": 0, "top_p": 0.8, "min_p": 0.05},
]


@pytest.fixture
def other_noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this package takes for torch's exponentials is not what torch draws: each is that of another draw."""
    ours = torch_stream.exponentials_of_bits

    def shifted(bits: Any) -> Any:
        return ours(bits ^ np.int64(1 << 51))

    for module in (torch_stream, row_noise):
        monkeypatch.setattr(module, "exponentials_of_bits", shifted)
    stream_is_known.cache_clear()
    yield
    monkeypatch.undo()
    stream_is_known.cache_clear()


def tokens(rows: int, options: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Ours and transformers' own, from one state of torch's stream; the stream ends in one state."""
    logits = language_model(rows, 20_000, torch.Generator().manual_seed(rows))
    torch.manual_seed(rows)
    ours = sample(logits, **options).tolist()
    state = torch.get_rng_state()
    torch.manual_seed(rows)
    theirs = library_draw(processors_for(**options, keep=1), logits, None).tolist()
    assert torch.equal(state, torch.get_rng_state())
    return ours, theirs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_another_stream_is_told_and_torch_draws(other_noise: None, options: dict[str, Any]) -> None:
    """One, four and forty rows: the small batch, the lists and the whole rows."""
    assert not stream_is_known()
    for rows in (1, 4, 40):
        ours, theirs = tokens(rows, options)
        assert ours == theirs


@known_stream
def test_without_the_check_tokens_would_differ(other_noise: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forced noise is another: a check that says yes to it gives other tokens."""
    from afterlogits.decoding.sampling import batch, ladder

    for module in (batch, ladder):
        monkeypatch.setattr(module, "stream_is_known", lambda: True)
    ours, theirs = tokens(40, OPTIONS[1])
    assert ours != theirs


def test_beams_draw_from_another_stream_too(other_noise: None) -> None:
    """Continuations without replacement, from torch's own multinomial."""
    log_probs = torch.randn(6, 500, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    log_probs[:, 60:] = -torch.inf
    scores = torch.randn(2, 3, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(5)
    _, beams, token_ids = sampled_candidates(log_probs, scores, 6)
    torch.manual_seed(5)
    total = (log_probs + scores.flatten()[:, None]).view(2, -1)
    expected = torch.multinomial(total.softmax(-1), 6)
    assert (beams * 500 + token_ids).tolist() == expected.tolist()


@known_stream
def test_a_multinomial_of_another_algorithm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exponentials, but a draw that is no race of them."""
    ask = stream_is_known.__wrapped__
    assert ask()
    monkeypatch.setattr(torch, "multinomial", lambda probs, count, generator=None: probs.argmax(-1, keepdim=True))
    assert not ask()


def test_another_order_of_equal_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sort that leaves equal logits the other way round: where their order counts the tokens are that sort's."""

    def draws() -> tuple[list[int], list[int]]:
        drawn, found = random.Random(4), ([], [])
        for _ in range(40):
            logits = torch.randn(3, 400, generator=torch.Generator().manual_seed(drawn.randrange(1000))).round()
            options = {**OPTIONS[2], "temperature": 1.0, "top_p": drawn.choice([0.3, 0.6, 0.9])}
            seed = drawn.randrange(1000)
            for side in (0, 1):
                torch.manual_seed(seed)
                picked = (
                    sample(logits, **options) if side else library_draw(processors_for(**options, keep=1), logits, None)
                )
                found[side].extend(picked.tolist())
        return found

    require_order_of_this_build(monkeypatch, draws)


def test_another_order_of_equal_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beams of tied logits, and of logits without ties, in one batch: the candidates are those of this build's topk."""
    logits = torch.randn(6, 6000, generator=torch.Generator().manual_seed(1)).mul_(3)
    logits[:4].round_()
    scores = torch.zeros(3, 2)

    def both() -> tuple[list[Any], list[Any]]:
        found = top_candidates(logits, scores, 8, normalized=False)
        best, where = (logits.log_softmax(-1).view(3, 2, -1) + scores[:, :, None]).flatten(1).topk(8)
        return [each.tolist() for each in found], [each.tolist() for each in (best, where // 6000, where % 6000)]

    require_order_of_this_build(monkeypatch, both)
