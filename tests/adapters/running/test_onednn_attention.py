"""Attention by oneDNN's products in a thread that computes alone: torch's own is the oracle."""

import pytest
import torch
import torch.nn.functional as F

from afterlogits.adapters.running import onednn_attention
from afterlogits.adapters.running.onednn_attention import may_attend
from afterlogits.adapters.running.onednn_products import OneDnnProducts


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def heads_done(monkeypatch):
    """The heads that oneDNN's products have answered, by their queries and keys."""
    found = []
    plain = onednn_attention._attend_head

    def noted(query, key, *others):
        found.append((len(query), len(key)))
        plain(query, key, *others)

    monkeypatch.setattr(onednn_attention, "_attend_head", noted)
    return found


def drawn(batch, heads, queries, keys, width, seed=0):
    """Query, key and value as a model's layers give them: heads beside each other in memory."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, length, heads, width) for length in (queries, keys, keys)]
    return [torch.randn(shape, generator=generator).transpose(1, 2) for shape in shapes]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("shape", [(1, 3, 400, 400, 64), (2, 2, 257, 700, 32), (1, 1, 900, 300, 32)])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_attention_is_torch_s_but_for_rounding(one_thread, heads_done, shape, mode, scale):
    """Means of values of about 1: a few steps of float32 at 1."""
    query, key, value = drawn(*shape)
    with mode():
        expected = F.scaled_dot_product_attention(query, key, value, scale=scale)
        with OneDnnProducts():
            found = F.scaled_dot_product_attention(query, key, value, scale=scale)
    assert heads_done == [shape[2:4]] * (shape[0] * shape[1])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)
    assert found.stride() == expected.stride()


def test_nan_stays_in_its_row(one_thread):
    query, key, value = drawn(1, 2, 300, 300, 64)
    query[0, 1, 7, 3] = torch.nan
    with torch.no_grad(), OneDnnProducts():
        found = F.scaled_dot_product_attention(query, key, value)
    assert found.isnan().any(dim=-1).nonzero().tolist() == [[0, 1, 7]]


def test_others_are_left_to_torch(one_thread):
    query, key, value = drawn(1, 2, 300, 300, 64)
    assert may_attend(query, key, value) and may_attend(query, key, value, attn_mask=None, dropout_p=0.0)
    assert not may_attend(query, key, value, attn_mask=torch.zeros(300, 300))
    assert not may_attend(query, key, value, is_causal=True)
    assert not may_attend(query, key, value, dropout_p=0.1)
    assert not may_attend(query, key, value, enable_gqa=True)
    assert not may_attend(query, key, value, of_a_later_torch=1)
    assert not may_attend(query.double(), key.double(), value.double())
    assert not may_attend(query, key, value[..., :4])
    assert not may_attend(query, key[:, :1], value[:, :1])
    assert not may_attend(query[:, :, :255], key, value)
    assert not may_attend(query[0], key[0], value[0])
    assert not may_attend(*drawn(1, 2, 600, 600, 16)) and not may_attend(*drawn(1, 2, 256, 256, 32))
    torch.set_num_threads(2)
    assert not may_attend(query, key, value)
