"""Where the kernels draw, and the ladder's way that asks them."""

from types import SimpleNamespace

import pytest
import torch

from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.sampling.params import DEFAULT_ORDER
from afterlogits.decoding.triton_kernels import draw
from afterlogits.decoding.triton_kernels.draw import may_run
from afterlogits.decoding.triton_kernels.language import on_its_device
from afterlogits.decoding.triton_kernels.row_options import RowOptions

from .cases import CPU, batch_of, interpreted

KINDS = ("peaked", "wide", "flat", "mostly -inf")


def sampler(batch_size=4, **options):
    seeds = list(range(batch_size))
    return Sampler(SamplingParams(**options), batch_size=batch_size, vocab_size=5003, device="cpu", seeds=seeds)


CUDA = torch.device("cuda")


@pytest.fixture
def with_triton(monkeypatch):
    """As if triton were installed beside a CUDA device, whose first draw does what the test says."""
    monkeypatch.delenv("AFTERLOGITS_KERNELS", raising=False)
    monkeypatch.setattr(draw, "HAS_TRITON", True)
    monkeypatch.setattr(draw, "INTERPRETED", False)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    works = draw._works
    works.cache_clear()
    yield monkeypatch
    works.cache_clear()


def test_kernels_need_a_device_and_triton(with_triton):
    with_triton.setattr(draw, "_works", lambda device: True)
    assert may_run(CUDA) and not may_run(CPU)
    with_triton.setenv("AFTERLOGITS_KERNELS", "off")
    assert not may_run(CUDA)
    with_triton.delenv("AFTERLOGITS_KERNELS")
    with_triton.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not may_run(CUDA)
    with_triton.setattr(draw, "HAS_TRITON", False)
    assert not may_run(CUDA)


def test_a_first_draw_that_fails_is_a_warning_and_torch_draws(with_triton):
    """No C compiler, say: asked once, said once."""
    asked = []

    def broken(*given, **more):
        asked.append(given)
        raise RuntimeError("Failed to find C compiler")

    with_triton.setattr(draw, "draw_rows", broken)
    with_triton.setattr(torch, "zeros", lambda *size, device=None, **more: torch.ones(*size, **more) * 0)
    with_triton.setattr(RowOptions, "off", lambda *given: None)
    with pytest.warns(UserWarning, match="triton does not run on cuda, torch draws instead: RuntimeError"):
        assert not may_run(CUDA)
    assert not may_run(CUDA)
    assert len(asked) == 1


def test_kernels_run_on_the_device_of_their_logits(monkeypatch):
    """The current device is left alone where it is theirs, and changed for the call where it is not."""
    entered = []

    class Device:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            entered.append(self.device.index)

        def __exit__(self, *error):
            entered.append("left")

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", Device)
    launch = on_its_device(lambda first, more: (first.device.index, more, list(entered)))
    for device, during in (("cuda:0", []), ("cpu", []), ("cuda:1", [1])):
        entered.clear()
        logits = SimpleNamespace(device=torch.device(device))
        assert launch(logits, 5) == (logits.device.index, 5, during)
    assert entered == [1, "left"]


def test_options_that_are_off():
    found, compiled = RowOptions.off(3, CPU), RowOptions.of(SamplingParams().compiled(3, CPU), 3, 100, CPU)
    for name in ("temperature", "top_k", "border", "min_p", "greedy", "proposing", "rows"):
        assert torch.equal(getattr(found, name), getattr(compiled, name)), name


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0.9},
        {"top_p": 0.9, "top_k": 4, "joint_top_k_top_p": True},
        {"top_p": 0.9, "min_tokens_to_keep": 2},
        {"dynamic_temperature": 0.5},
        {"order": DEFAULT_ORDER[::-1], "top_p": 0.9, "temperature": 0.5},
    ],
    ids=str,
)
def test_other_filters_are_not_the_kernels(options):
    assert RowOptions.of(SamplingParams(**options).compiled(2, CPU), 2, 5003, CPU) is None


def test_options_are_one_a_row():
    """A top-k of the vocabulary or more is off; a greedy row's temperature is 1; top-p 1 is off; rows are numbered."""
    params = SamplingParams(temperature=[0.0, 0.5, 2.0], top_k=[5, 90, 100], top_p=[0.75, 1.0, 0.5])
    found = RowOptions.of(params.compiled(3, CPU), 3, 100, CPU)
    assert found.temperature.tolist() == [1.0, 0.5, 2.0]
    assert found.top_k.tolist() == [5, 90, 0]
    assert found.border.tolist() == [0.25, -1.0, 0.5]
    assert found.greedy.tolist() == [1, 0, 0]
    assert found.select_rows(torch.tensor([2, 0])).rows.tolist() == [2, 0]


@interpreted
def test_the_ladder_asks_the_kernels(monkeypatch):
    """The tokens of a sampler whose way they are, some rows of the batch too; a bad row is named."""
    logits = batch_of(KINDS, 5003, 0)
    expected = sampler(top_p=0.9).select(logits, step=2)
    monkeypatch.setenv("AFTERLOGITS_KERNELS", "interpreter")
    ours, asked = sampler(top_p=0.9), []
    monkeypatch.setattr(
        "afterlogits.decoding.sampling.kernel_draw.draw_rows",
        lambda *given, **more: asked.append(1) or draw.draw_rows(*given, **more),
    )
    assert ours.select(logits, step=2).tolist() == expected.tolist()
    rows = torch.tensor([3, 1])
    assert ours.select(logits[rows], step=2, rows=rows).tolist() == expected[rows].tolist()
    assert asked == [1, 1]
    logits[2, 7] = torch.nan
    with pytest.raises(ValueError, match="row 2"):
        ours.select(logits)
