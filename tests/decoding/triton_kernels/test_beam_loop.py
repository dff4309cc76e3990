"""Beam search by kernels: the sequences, scores and beam indices of the search without them, ties included."""

import pytest
import torch
from torch import Tensor

from afterlogits.decoding.search import beam, beam_candidates
from afterlogits.decoding.search.beam import Beams, beam_search
from afterlogits.decoding.search.step_model import TableModel, expansion
from afterlogits.decoding.search.stopping import Stopping

from .cases import interpreted

VOCAB_SIZE, BEAMS, ITEMS = 700, 3, 2


class Model(TableModel):
    """The next logits are those of the last token; beams change places."""

    def __init__(self, table: Tensor):
        prompt = torch.tensor([[3, 1], [5, 4]])[expansion(ITEMS, BEAMS)]
        super().__init__(prompt, lambda ids: table[ids[:, -1] % len(table)])


def search(table: Tensor, kernels: bool, monkeypatch: pytest.MonkeyPatch, **options: object) -> Beams:
    monkeypatch.setenv("AFTERLOGITS_KERNELS", "interpreter" if kernels else "off")
    model = Model(table)
    stopping = Stopping(max_length=8, eos_token_id=torch.tensor([7]))
    return beam_search(model, model.token_ids, stopping, num_beams=BEAMS, max_length=8, **options)  # type: ignore[arg-type]


def table_of(kind: str) -> Tensor:
    """Logits after each of a few tokens; token 7 ends a hypothesis now and then."""
    table = torch.randn(11, VOCAB_SIZE, generator=torch.Generator().manual_seed(3)).mul_(2)
    table[:, 7] += 4.0
    return (table * 2).round() / 2 if kind == "ties" else table


@interpreted
@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "num_return_sequences": 2}], ids=["plain", "early"])
@pytest.mark.parametrize("kind", ["distinct", "ties"])
def test_the_search_is_the_same(kind: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps without a doubt are the kernels' own; one in doubt is done again by transformers' operations."""
    expected = search(table_of(kind), False, monkeypatch, **options)
    by_kernels, again = list[bool](), list[int]()
    select, book = beam_candidates.kernel_candidates, beam_candidates.top_candidates
    monkeypatch.setattr(beam, "kernel_candidates", lambda *given: _noted(select(*given), by_kernels))
    monkeypatch.setattr(beam, "top_candidates", lambda *given, **more: (again.append(1), book(*given, **more))[1])
    found = search(table_of(kind), True, monkeypatch, **options)
    assert torch.equal(found.token_ids, expected.token_ids)
    assert torch.equal(found.beam_indices, expected.beam_indices)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=1e-6)
    assert len(by_kernels) >= 3 and len(again) == sum(by_kernels)
    assert sum(by_kernels) == 0 if kind == "distinct" else sum(by_kernels) > 0


def _noted(found: object, doubts: list[bool]) -> object:
    """What the kernels found; ``doubts``: whether each step was in doubt."""
    assert isinstance(found, tuple)
    doubts.append(bool(found[1].any()))
    return found
