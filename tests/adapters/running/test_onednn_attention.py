"""Attention by oneDNN's products: torch's own is the oracle, with one thread and with several."""

import threading

import pytest
import torch
import torch.nn.functional as F

from afterlogits.adapters.running import onednn_attention
from afterlogits.adapters.running.onednn_attention import may_attend, threads_stay_alone
from afterlogits.adapters.running.onednn_products import OneDnnProducts


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    """Torch with so many threads, which share out attentions of any size."""
    before = torch.get_num_threads()
    monkeypatch.setattr(onednn_attention, "LEAST_SHARED", 1)
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def calls(monkeypatch):
    """The attentions that were taken: the thread each head was computed in."""
    found = []
    plain = onednn_attention._attend_head

    def noted(*arguments):
        found.append((threading.current_thread().name, torch.get_num_threads()))
        plain(*arguments)

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
def test_attention_is_torch_s_but_for_rounding(threads, calls, shape, mode, scale):
    """Means of values of about 1: a few steps of float32 at 1."""
    query, key, value = drawn(*shape)
    with mode():
        expected = F.scaled_dot_product_attention(query, key, value, scale=scale)
        with OneDnnProducts():
            found = F.scaled_dot_product_attention(query, key, value, scale=scale)
    batch, heads = shape[:2]
    assert len(calls) == batch * heads * (1 if batch * heads % threads == 0 else threads)
    assert {number for _, number in calls} == {1}
    assert all(("afterlogits-attend" in name) == (threads > 1) for name, _ in calls)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)
    assert found.stride() == expected.stride()


def test_threads_end_with_the_pass_and_leave_torch_s_number(threads):
    with torch.no_grad(), OneDnnProducts():
        F.scaled_dot_product_attention(*drawn(1, 2, 300, 300, 64))
        running = [each for each in threading.enumerate() if "afterlogits-attend" in each.name]
        assert bool(running) == (threads > 1)
        assert torch.get_num_threads() == threads
    assert not [each for each in threading.enumerate() if "afterlogits-attend" in each.name]
    assert torch.get_num_threads() == threads


def test_a_failure_in_a_thread_is_raised(threads, monkeypatch):
    def failing(*arguments):
        raise MemoryError("no room for scores")

    monkeypatch.setattr(onednn_attention, "_attend_head", failing)
    with pytest.raises(MemoryError, match="no room for scores"), torch.no_grad(), OneDnnProducts():
        F.scaled_dot_product_attention(*drawn(1, 2, 300, 300, 64))


def test_nan_stays_in_its_row(threads):
    query, key, value = drawn(1, 2, 300, 300, 64)
    query[0, 1, 7, 3] = torch.nan
    with torch.no_grad(), OneDnnProducts():
        found = F.scaled_dot_product_attention(query, key, value)
    assert found.isnan().any(dim=-1).nonzero().tolist() == [[0, 1, 7]]


def test_others_are_left_to_torch(monkeypatch):
    query, key, value = drawn(1, 2, 300, 300, 64)
    with torch.no_grad():
        monkeypatch.setattr(onednn_attention, "threads_stay_alone", lambda: True)
        monkeypatch.setattr(onednn_attention, "LEAST_SHARED", 1)
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
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        monkeypatch.setattr(onednn_attention, "threads_stay_alone", lambda: False)
        assert not may_attend(query, key, value)
    assert not may_attend(query, key, value)


def test_whether_threads_can_be_told_is_tried(monkeypatch, threads):
    threads_stay_alone.cache_clear()
    assert threads_stay_alone()  # torch's own wheels hold OpenMP
    monkeypatch.setattr(onednn_attention, "_set_threads", lambda: lambda count: None)
    threads_stay_alone.cache_clear()
    assert threads_stay_alone() == (threads == 1)

    def missing():
        raise AttributeError("omp_set_num_threads")

    monkeypatch.setattr(onednn_attention, "_set_threads", missing)
    threads_stay_alone.cache_clear()
    assert not threads_stay_alone()
    threads_stay_alone.cache_clear()
