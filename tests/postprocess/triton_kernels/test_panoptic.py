"""Panoptic maps by a kernel: the twin, torch's upsampling, and the maps of the CPU."""

import pytest
import torch
import torch.nn.functional as F

from afterlogits.postprocess import vision
from afterlogits.postprocess.triton_kernels.panoptic import (
    Fusion,
    PanopticTiles,
    panoptic_tiles,
    panoptic_twin,
    tiles_run,
    upsampled_planes,
    upsampled_twin,
)
from afterlogits.postprocess.vision import tiled_panoptic
from tests.decoding.triton_kernels.cases import interpreted
from tests.postprocess.vision.drawn_segmentations import draw_queries

SIZES = (((5, 7), (11, 23)), ((6, 4), (6, 4)), ((9, 8), (5, 20)), ((1, 3), (40, 30)), ((7, 1), (3, 2)))


def drawn(seed: int, source: tuple[int, int], queries: int = 6) -> tuple[torch.Tensor, ...]:
    """Probabilities with ties and a NaN now and then, scores, the order of the queries and how many are kept."""
    generator = torch.Generator().manual_seed(seed)
    planes = torch.rand(queries, *source, generator=generator)
    planes = (planes * 4).round() / 4 if seed % 2 else planes
    if seed % 3 == 0:
        planes[seed % queries, 0, 0] = torch.nan
    scores = (torch.rand(queries, generator=generator) * 4).round() / 4 + 0.1
    return planes, scores, torch.randperm(queries, generator=generator), torch.tensor(seed % (queries + 1))


def equal(one: PanopticTiles, other: PanopticTiles) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_the_twin_by_hand() -> None:
    """Queries 2 and 0 are kept. .5 * .5 = .25 against .9 * .2, 1 * .5 against 1 * .2; the first covers both."""
    planes = torch.tensor([[[0.9, 1.0]], [[1.0, 1.0]], [[0.5, 1.0]]])
    scores, order = torch.tensor([0.2, 0.9, 0.5]), torch.tensor([2, 0, 1])
    found = panoptic_twin(planes, scores, order, torch.tensor(2), 0.2)
    assert found.winners.tolist() == [[1, 1]]
    assert found.areas.tolist() == [2, 0, 0] and found.covers.tolist() == [2, 1, 0]
    none = panoptic_twin(planes, scores, order, torch.tensor(0), 0.2)
    assert none.winners.tolist() == [[0, 0]] and none.areas.tolist() == none.covers.tolist() == [0, 0, 0]


def test_the_twin_upsamples_as_torch_does() -> None:
    """To within rounding, which is another on each device."""
    for source, size in SIZES:
        planes = torch.rand(3, *source, generator=torch.Generator().manual_seed(1))
        expected = F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(upsampled_twin(planes, size), expected, rtol=0, atol=1e-6)


@interpreted
def test_kernels_are_the_twins() -> None:
    """Ties, NaN, none and all kept, sizes that grow, shrink and stay; more pixels than a tile has."""
    for seed in range(20):
        source, size = SIZES[seed % len(SIZES)]
        planes, scores, order, count = drawn(seed, source)
        expected = panoptic_twin(upsampled_twin(planes, size), scores, order, count, 0.3)
        assert equal(panoptic_tiles(planes, scores, order, count, size, 0.3), expected), seed
        large = upsampled_planes(planes, size, Fusion())
        assert torch.equal(large.nan_to_num(9.0), upsampled_twin(planes, size).nan_to_num(9.0)), seed


@interpreted
def test_planes_may_lie_apart() -> None:
    """Planes that are a view of larger ones, every second score; a map without a pixel."""
    planes, scores, order, count = drawn(5, (9, 12))
    apart = planes[:, 1:7, ::2], torch.stack((scores, scores), dim=1)[:, 0], order, count
    expected = panoptic_tiles(*(each.contiguous() for each in apart), (11, 23), 0.3)
    assert equal(panoptic_tiles(*apart, (11, 23), 0.3), expected)
    assert torch.equal(
        upsampled_planes(apart[0], (11, 23), Fusion()), upsampled_planes(apart[0].contiguous(), (11, 23), Fusion())
    )
    nothing = panoptic_tiles(*apart, (0, 23), 0.3)
    assert nothing.winners.shape == (0, 23) and not nothing.areas.any()


@interpreted
@pytest.mark.parametrize("fusion", [Fusion(1, 1, 1), Fusion(0, 2, 1), Fusion(1, 0, 2)], ids=str)
def test_every_fusion_is_bilinear(fusion: Fusion) -> None:
    """The interpreter rounds a fused product all the same: the values are the same to its rounding."""
    planes = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        upsampled_planes(planes, (11, 23), fusion), upsampled_twin(planes, (11, 23)), rtol=0, atol=1e-6
    )


@interpreted
def test_panoptic_maps_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 drawn batches with images in which nothing is kept, fused classes, masks resized twice.

    torch's vectors and the kernel round unlike, so that a pixel where two queries are as good as equal may differ.
    """
    calls, pixels, unlike = [], 0, 0
    monkeypatch.setattr(tiled_panoptic, "panoptic_tiles", lambda *given: (calls.append(1), panoptic_tiles(*given))[1])
    for seed in range(60):
        choose, classes, masks, sizes = draw_queries(seed)
        options = {
            "sizes": [(min(h, 40), min(w, 40)) for h, w in sizes or [(9, 12)] * len(masks)],
            "threshold": choose.choice((0.0, 0.3, 0.6)),
            "mask_size": choose.choice((None, (12, 10))),
            "fuse": choose.choice(((), (0, 1))),
            "compat": choose.random() < 0.5,
        }
        found = {}
        for kernels in ("off", "interpreter"):
            monkeypatch.setenv("AFTERLOGITS_KERNELS", kernels)
            assert tiles_run(masks.device) == (kernels == "interpreter")
            found[kernels] = vision.panoptic_maps(classes, masks, **options)
        for one, other in zip(found["off"], found["interpreter"], strict=True):
            assert one.map.dtype == other.map.dtype
            differ = int((one.map != other.map).sum())
            pixels, unlike = pixels + one.map.numel(), unlike + differ
            if not differ:
                for name in ("ids", "labels", "queries", "fused", "scores"):
                    assert torch.equal(getattr(one, name), getattr(other, name)), (seed, name)
    assert len(calls) > 60
    assert unlike < pixels / 1000, (unlike, pixels)
