"""The one read of the logits: the kernel in Triton's interpreter against its twin, and the twin against torch."""

import pytest
import torch

from afterlogits.decoding.triton_kernels.row_stats import (
    CHUNK,
    GROUP,
    chunks,
    empty_stats,
    row_stats,
    row_stats_twin,
)

from .cases import KINDS, batch_of, interpreted


def test_the_twin_s_masses_are_a_log_sum_exp():
    """logits 0, ln 3 at T = 1: top ln 3, mass 1 + 1 / 3."""
    stats = row_stats_twin(torch.tensor([[0.0, 3.0]]).log1p() * 0 + torch.tensor([[0.0, 1.0986123]]), torch.ones(1))
    torch.testing.assert_close(stats.tops, torch.tensor([[1.0986123]]))
    torch.testing.assert_close(stats.masses, torch.tensor([[4 / 3]]))
    assert stats.maxima[0, 0] == 1.0986123
    assert (stats.maxima[0, 1:] == -torch.inf).all()


def test_the_twin_s_chunks_make_the_row():
    logits = batch_of(("wide", "ties", "mostly -inf"), 2 * CHUNK + 77, 0)
    stats = row_stats_twin(logits, torch.full((3,), 0.7))
    assert stats.maxima.shape == (3, chunks(logits.shape[1]) * CHUNK // GROUP)
    total = (stats.masses * ((stats.tops - logits.amax(1, keepdim=True)) / 0.7).exp()).sum(1)
    expected = torch.logsumexp(logits.double() / 0.7, 1) - logits.amax(1).double() / 0.7
    torch.testing.assert_close(total.double().log(), expected, rtol=0, atol=2e-6)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_kernel_is_the_twin(dtype):
    """Rows apart in memory, a vocabulary that is a multiple of nothing, NaN, +inf and rows without a finite logit."""
    kinds = [kind for kind in KINDS if kind != "huge" or dtype != torch.float16]
    logits = batch_of(kinds, CHUNK + 1237, 3, dtype, apart=5)
    logits[0, 4000], logits[1, CHUNK + 3], logits[2] = torch.nan, torch.inf, -torch.inf
    temperature = torch.linspace(0.3, 1.9, len(logits), dtype=torch.float64)
    found = row_stats(logits, temperature, empty_stats(logits))
    expected = row_stats_twin(logits, temperature)
    assert torch.equal(found.maxima, expected.maxima)
    assert torch.equal(found.tops, expected.tops)
    assert torch.equal(found.bad, expected.bad)
    assert expected.bad.sum() == 2
    fine = expected.bad == 0
    torch.testing.assert_close(found.masses[fine], expected.masses[fine], rtol=1e-5, atol=0)


@interpreted
def test_one_row_and_a_short_one():
    for vocab_size in (1, 63, 64, 65, CHUNK):
        logits = batch_of(("wide",), vocab_size, vocab_size)
        found = row_stats(logits, torch.ones(1, dtype=torch.float64), empty_stats(logits))
        assert torch.equal(found.maxima, row_stats_twin(logits, torch.ones(1)).maxima)
