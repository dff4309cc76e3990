"""Operations of many passes in pieces of rows: the bits of the whole batch at once, whatever its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as library

from afterlogits.benchmarks.workloads import SHAPES, flat, peaked
from afterlogits.decoding import apply_epsilon, apply_eta, apply_guidance
from afterlogits.decoding.kernels import row_blocks

VOCAB = 100_003


def _guided(logits: Tensor, scale: float) -> Tensor:
    conditional, other = logits.log_softmax(-1), logits.flip(1).log_softmax(-1)
    return scale * (conditional - other) + other


PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[float]]] = {
    "epsilon": (apply_epsilon, lambda x, value: library.EpsilonLogitsWarper(value)(None, x), [3e-4, 1e-5, 0.9]),
    "eta": (apply_eta, lambda x, value: library.EtaLogitsWarper(value)(None, x), [2e-3, 1e-5, 0.9]),
    "guidance": (lambda x, value: apply_guidance(x, x.flip(1), value), _guided, [1.5, 0.3]),
}


def _pieces(logits: Tensor) -> list[int]:
    found: list[int] = []

    def count(some: slice) -> Tensor:
        found.append(len(logits[some]))
        return logits[some]

    assert torch.equal(row_blocks.by_pieces(logits, count), logits)
    return found


# golden


def test_no_row_of_a_batch_is_alone() -> None:
    """2**19 logits hold five rows of 100,003; a batch of 1 to 3 rows and small rows stay whole."""
    expected = {1: [1], 2: [2], 3: [3], 4: [4], 9: [9], 10: [5, 5], 11: [5, 6], 16: [5, 5, 6]}
    assert {rows: _pieces(torch.zeros(rows, VOCAB)) for rows in expected} == expected
    assert _pieces(torch.zeros(5, 400_000)) == [2, 3]
    assert _pieces(torch.zeros(300, 1000)) == [300]


# parity


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
@pytest.mark.parametrize("name", [*PAIRS])
def test_equals_the_library_on_batches_of_large_rows(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the batch and per row, in pieces of two and three; half of the rows with -inf in them."""
    monkeypatch.setattr(row_blocks, "_PIECE", 2 * VOCAB)
    ours, theirs, values = PAIRS[name]
    for shape, make in SHAPES.items():
        logits = make(rows, VOCAB, seed=rows)
        if name != "guidance":
            logits[::2, 5:5000] = -torch.inf
        mixed = [values[i % len(values)] for i in range(rows)]
        expected = {value: theirs(logits, value) for value in values}
        for value in values:
            assert torch.equal(ours(logits, value), expected[value]), (shape, value)
        assert torch.equal(ours(logits, mixed), torch.stack([expected[x][i] for i, x in enumerate(mixed)])), shape


def test_a_scale_of_one_leaves_its_row_s_log_probabilities() -> None:
    logits = peaked(4, VOCAB)
    guided = apply_guidance(logits, logits.flip(1), [1.0, 1.5, 1.0, 2.0])
    assert torch.equal(guided[::2], logits.log_softmax(-1)[::2])
    assert torch.equal(guided[1], _guided(logits, 1.5)[1])


def test_the_largest_logits_stay_where_no_token_is_probable_enough() -> None:
    """A flat row keeps its largest logit and its equals, or its three largest; a peaked row beside it is unmoved."""
    logits = torch.cat([flat(3, VOCAB), peaked(2, VOCAB)])
    logits[0, [7, 99]] = logits[0].amax()
    assert (apply_epsilon(logits, 0.01)[:3].isfinite().sum(1)).tolist() == [3, 1, 1]
    for keep in (1, 3):
        for some, epsilon in ((logits, 0.01), (logits[3:], logits[3:].softmax(-1).amax().item() / 2)):
            expected = library.EpsilonLogitsWarper(epsilon, min_tokens_to_keep=keep)(None, some)
            assert torch.equal(apply_epsilon(some, epsilon, min_tokens_to_keep=keep), expected)


def test_gradients_flow_through_both_sides_of_the_guidance() -> None:
    for which in (0, 1):
        sides = [peaked(4, VOCAB), flat(4, VOCAB)]
        sides[which].requires_grad_()
        apply_guidance(*sides, 1.5)[:, 0].sum().backward()
        assert sides[which].grad is not None
        assert bool(sides[which].grad.any())
