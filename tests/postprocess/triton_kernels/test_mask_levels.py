"""Masks, areas and boxes from one read by a kernel: the twin, and mask generation that goes by it."""

import pytest
import torch

from afterlogits.postprocess.triton_kernels.mask_levels import mask_levels, mask_levels_twin
from afterlogits.postprocess.vision import mask_generation
from tests.decoding.triton_kernels.cases import interpreted


def drawn(seed: int, count: int, size: tuple[int, int]) -> torch.Tensor:
    """Spots of few values, so that many are on a level; an empty mask, a full one, NaN and infinities."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randn(1, count, 4, 5, generator=generator) * 4
    logits = torch.nn.functional.interpolate(low, size=size, mode="bilinear")[0].round().contiguous()
    logits[0], logits[-1] = -9.0, 9.0
    logits[1, 0, 0], logits[1, -1, -1], logits[1, 0, -1] = torch.nan, torch.inf, -torch.inf
    return logits


def test_the_twin_by_hand() -> None:
    """Above 0: two pixels, columns 1 to 2 of row 0. Above 1: one. Above -1: four of six. The second mask is empty."""
    logits = torch.tensor([[[0.0, 2.0, 1.0], [-1.0, -0.5, -2.0]], [[-3.0] * 3] * 2])
    found = mask_levels_twin(logits, 0.0, 1.0)
    assert found.masks[0].tolist() == [[False, True, True], [False, False, False]]
    assert found.high.tolist() == [1, 0] and found.low.tolist() == [4, 0]
    assert found.boxes.tolist() == [[1, 0, 2, 0], [0, 0, 0, 0]]


def test_the_twin_is_what_mask_generation_does() -> None:
    for seed in range(5):
        logits = drawn(seed, 6, (17, 23))
        found = mask_levels_twin(logits, 0.0, 1.0)
        masks, stability, boxes = mask_generation._levels(logits, 0.0, 1.0)
        assert torch.equal(found.masks, masks) and torch.equal(found.boxes, boxes)
        assert torch.equal((found.high / found.low).nan_to_num(7.0), stability.nan_to_num(7.0))


@interpreted
def test_kernel_is_the_twin() -> None:
    """Masks smaller and larger than a tile; levels that float32 rounds."""
    for seed, size in enumerate(((1, 1), (3, 5), (40, 60), (33, 31))):
        for level, offset in ((0.0, 1.0), (0.1, 0.3), (-2.0, 0.0)):
            logits = drawn(seed, 5, size)
            for one, other in zip(
                mask_levels(logits, level, offset), mask_levels_twin(logits, level, offset), strict=True
            ):
                assert torch.equal(one, other), (size, level)


@interpreted
def test_masks_may_lie_apart_or_be_none() -> None:
    """A crop of larger masks, as a view; no mask, and masks without a pixel."""
    logits = drawn(3, 5, (40, 37))[:, 3:36, 2:30]
    for one, other in zip(mask_levels(logits, 0.0, 1.0), mask_levels_twin(logits, 0.0, 1.0), strict=True):
        assert torch.equal(one, other)
    for none in (logits[:0], logits[:, :0]):
        found = mask_levels(none, 0.0, 1.0)
        assert found.masks.shape == none.shape and found.high.tolist() == [0] * len(none)


@interpreted
def test_mask_generation_is_the_same_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of crops and of whole pictures: run lengths, scores and boxes of the CPU."""
    calls = list[int]()
    monkeypatch.setattr(mask_generation, "mask_levels", lambda *given: (calls.append(1), mask_levels(*given))[1])
    for seed, crop in enumerate((None, (5, 0, 45, 30))):
        logits, scores = drawn(seed, 8, (30, 40)), torch.linspace(0.5, 1.0, 8)
        given = (scores, (40, 60) if crop else (30, 40), crop, (0.4, 0.0, 1.0))
        expected = mask_generation._candidates(iter(logits.split(3)), *given)
        monkeypatch.setenv("AFTERLOGITS_KERNELS", "interpreter")
        found = mask_generation.on_host(mask_generation._launched(iter(logits.split(3)), *given))
        monkeypatch.delenv("AFTERLOGITS_KERNELS")
        assert found.runs.lists() == expected.runs.lists() and len(found.scores)
        assert torch.equal(found.scores, expected.scores) and torch.equal(found.boxes, expected.boxes)
    assert len(calls) == 6
