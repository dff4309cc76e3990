"""The pretend device itself: what it counts, what it refuses, and that it computes what the host does."""

import pytest
import torch

from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.kernels.late_flags import LateFlag
from afterlogits.decoding.sampling.step_graph import StepGraph
from afterlogits.postprocess.transfers import received
from tests.pretend_cuda.device import on_device, pretend_cuda, to_host
from tests.pretend_cuda.tensors import DeviceError

# each an operation on x [2, 3] on the device, and how often the host waits for it
WAITS = {
    "item": (lambda x: x.sum().item(), 1),
    "bool": (lambda x: bool((x > 0).any()), 1),
    "tolist": (lambda x: x.tolist(), 1),
    "cpu": (lambda x: x.cpu(), 1),
    "nonzero": (lambda x: x.nonzero(), 1),
    "mask": (lambda x: x[x > 0], 1),
    "equal": (lambda x: torch.equal(x, x), 1),
    "list index": (lambda x: x[[0, 1]], 1),
    "host index": (lambda x: x[torch.tensor([0, 1])], 1),
    "tensor": (lambda x: torch.tensor([1.0], device=x.device), 1),
    "to": (lambda x: torch.ones(2).to(x.device), 1),
    "multinomial": (lambda x: torch.multinomial(x.softmax(-1), 1), 2),
    "repeats": (lambda x: x[0].repeat_interleave((x[0] > -9).long()), 1),
    "repeats of a known sum": (lambda x: x[0].repeat_interleave((x[0] > -9).long(), output_size=3), 0),
    "one of few": (lambda x: torch.isin(x, x[0]), 0),
    "one of many": (lambda x: torch.isin(x, torch.arange(20, device=x.device)), 2),
    "fill by mask": (lambda x: x.clone().__setitem__(x > 0, 1.0), 0),
    "slice": (lambda x: x[:, 1:] + 1, 0),
    "scalar host tensor": (lambda x: x * torch.tensor(2.0), 0),
    "new on the device": (lambda x: torch.full((2,), 3.0, device=x.device) + torch.arange(2, device=x.device), 0),
    "pinned": (lambda x: torch.ones(2).pin_memory().to(x.device, non_blocking=True), 0),
}


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_counted(name: str) -> None:
    """Each operation waits as often as on a GPU; the numbers behind it are those of the host."""
    operate, waits = WAITS[name]
    with pretend_cuda() as counts:
        x = on_device(torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]]))
        counts.reset()
        torch.manual_seed(0)
        operate(x)
    assert counts.totals()[0] == waits, counts.waits


def test_operations_are_counted() -> None:
    """One for an operation, none for a view, 11 for a draw from a distribution."""
    with pretend_cuda() as counts:
        x = on_device(torch.ones(2, 3))
        counts.reset()
        x.view(3, 2).transpose(0, 1)[1:].softmax(-1).argmax(-1)
        assert counts.operations == {"_softmax": 1, "argmax": 1}
        torch.multinomial(x, 1)
    assert counts.operations["multinomial"] == 11


def test_devices_are_kept_apart() -> None:
    """Tensors of both devices, indices of the other and a generator of the host are refused."""
    with pretend_cuda():
        x, host = on_device(torch.ones(2, 3)), torch.ones(2, 3)
        with pytest.raises(DeviceError, match="same device"):
            x + host
        with pytest.raises(DeviceError, match="indices"):
            host[on_device(torch.tensor([0]))]
        with pytest.raises(DeviceError, match="generator"):
            torch.rand(2, device="cuda:0", generator=torch.Generator())
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        with pytest.raises(RuntimeError, match="pin"):
            x.pin_memory()


def test_late_copies_arrive_with_their_event() -> None:
    """Before the event is waited for, pinned memory holds anything but the right numbers."""
    with pretend_cuda() as counts:
        flags, event = torch.zeros(2, dtype=torch.bool, pin_memory=True), torch.cuda.Event()
        counts.reset()
        flags.copy_(on_device(torch.tensor([True, False])), non_blocking=True)
        event.record()
        assert flags.tolist() == [False, True] and not event.query()
        event.synchronize()
        assert flags.tolist() == [True, False] and event.query()
    assert counts.totals()[:2] == (0, 1)


def test_a_model_on_the_device_says_the_same() -> None:
    """A copy of a module with shared weights; the module itself stays where it is."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    x = torch.randn(2, 3)
    with torch.no_grad(), pretend_cuda():
        there = on_device(module)
        assert next(there.parameters()).device.type == "cuda" and there[0].weight is there[1].weight
        torch.testing.assert_close(to_host(there(on_device(x))), module(x), rtol=0, atol=0)
        assert next(module.parameters()).device.type == "cpu"


def test_another_device_may_be_the_current_one() -> None:
    """What comes late is waited for in the stream of its own device, and a draw is captured there."""
    values = torch.tensor([True, False, True])
    with pretend_cuda(current=1):
        flag = LateFlag()
        for each in (values, ~values):
            flag.send(on_device(each))
            assert torch.equal(flag.receive(), each)
        several = (values, torch.arange(5), torch.tensor(0.5))
        for found, each in zip(received(*map(on_device, several)), several, strict=True):
            assert torch.equal(found, each)
        drawn = [torch.randn(3, 5003, generator=torch.Generator().manual_seed(step)) * 3 for step in range(4)]
        graph, single = (
            Sampler(SamplingParams(), batch_size=3, vocab_size=5003, device="cuda:0", seeds=[1, 2, 3]) for _ in range(2)
        )
        captured = StepGraph(graph)
        for step, logits in enumerate(drawn):
            tokens = captured.select(on_device(logits), step=step)
            assert torch.equal(to_host(tokens), to_host(single.select(on_device(logits), step=step)))
        assert captured.is_captured
