"""Tensors to a device and back: shapes, types and one wait, on the device that is not there."""

import torch

from afterlogits.postprocess.transfers import Arriving, received, sent
from tests.pretend_cuda.device import on_device, pretend_cuda

MIXED = [
    torch.tensor([[1, 2], [3, 4]]),
    torch.tensor(0.5),
    torch.tensor([True, False, True]),
    torch.zeros(0, 3, dtype=torch.float64),
    torch.arange(12, dtype=torch.int16).view(3, 4).T,
    torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
]


def test_tensors_of_the_host_are_themselves() -> None:
    assert all(one is other for one, other in zip(received(*MIXED), MIXED, strict=True))
    assert received() == []


def test_what_a_device_holds_comes_in_one_wait() -> None:
    """Any types, strides and empty ones together, those of the host among them; nothing waits before it is asked."""
    with pretend_cuda() as counts:
        here = torch.tensor([7])
        given = [on_device(each) for each in MIXED]
        counts.reset()
        arriving = Arriving.of(*given[:3], here, *given[3:])
        assert (counts.waits.total(), counts.late) == (0, 0)
        found = arriving.received()
        assert (counts.waits.total(), counts.late) == (0, 1)
        assert found.pop(3) is here
        for one, other in zip(found, MIXED, strict=True):
            assert one.dtype == other.dtype and not one.is_pinned()
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_nobody_waits_for_what_is_sent() -> None:
    with pretend_cuda() as counts:
        found = sent(torch.arange(3), torch.device("cuda:0"))
        assert found.device.type == "cuda" and counts.waits.total() == 0
        assert received(found)[0].tolist() == [0, 1, 2]
    assert sent(found.inner, torch.device("cpu")) is found.inner
