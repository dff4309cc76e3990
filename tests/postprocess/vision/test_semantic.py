"""Maps of classes: cells that are settled, cells that are not, ties, and transformers' functions on drawn outputs."""

import pytest
import torch
import torch.nn.functional as F

from afterlogits.postprocess import vision
from afterlogits.postprocess.vision import cell_blocks, semantic, upsampling
from tests.postprocess.vision.drawn_segmentations import CHECKS

CASES = 60


def by_the_call(planes, size):
    return F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0)


def region_planes(classes, height, width, *, seed=0, regions=4, noise=1.0):
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(classes, height, width, generator=generator) * noise
    low = torch.randn(regions, 4, 4, generator=generator)
    planes[torch.randperm(classes, generator=generator)[:regions]] += 8 * F.interpolate(
        low[None], size=(height, width), mode="bicubic"
    )[0].clamp_min(-1)
    return planes


# golden


def test_a_tie_is_the_lower_class():
    """Half way between (0, 2) and (2, 0) both classes are 1: the lower one."""
    planes = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])
    # Six pixels at 1/6 .. 11/6 of two inputs at 1/2 and 3/2: weights of the second 0, 0, 1/3, 2/3, 1, 1.
    assert semantic.class_map(planes, (1, 6)).tolist() == [[0, 0, 0, 1, 1, 1]]
    assert semantic.class_map(torch.zeros(3, 1, 2), (2, 4)).tolist() == [[0] * 4] * 2


def test_without_sizes_the_map_is_as_large_as_the_logits():
    maps = vision.semantic_maps(torch.tensor([[[[0.0, 5]], [[1, 1]]]]))
    assert [m.tolist() for m in maps] == [[[1, 0]]]
    assert maps[0].dtype == torch.int64


def test_nan_wins_and_infinities_do_not_break():
    """NaN is torch's largest; the first class that is NaN has the pixel."""
    planes = torch.zeros(4, 40, 40)
    planes[2, 20, 20] = torch.nan
    planes[3, 20, 20] = torch.nan
    planes[1, 3, 3] = torch.inf
    ours = semantic.class_map(planes, (120, 90))
    assert torch.equal(ours, by_the_call(planes, (120, 90)))
    assert (ours == 2).any() and not (ours == 3).any()


# property


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (100, 133), (128, 640), (384, 1080), (384, 200), (31, 3000)])
def test_weights_are_those_of_torch(size):
    """A row upsampled by the weights is torch's to a rounding step or two, and a cell's outputs follow one another."""
    source, target = size
    axis = upsampling.linear_axis(source, target, torch.float32)
    row = torch.randn(source, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(row.view(1, 1, 1, -1), size=(1, target), mode="bilinear")[0, 0, 0]
    ours = row[axis.first] * axis.weight_first + row[axis.second] * axis.weight_second
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert torch.equal(torch.repeat_interleave(torch.arange(source), axis.count), axis.first)
    assert axis.start[axis.first[0]] == 0


@pytest.mark.parametrize(
    ("source", "target"), [(18, 150), (9, 50), (21, 175), (128, 480), (7, 35), (2, 9), (1, 5), (30, 20)]
)
def test_cells_are_those_that_torch_reads(source, target):
    """Row 12 of 150 lies at 1 of 18, where rounding takes the cell before: its first corner has a weight of 6e-8.

    Each input alone reaches the outputs of its cells, with the weight that the axis says, to the bit.
    """
    axis = upsampling.linear_axis(source, target, torch.float32)
    ones = torch.eye(source).view(1, source, 1, source)
    expected = F.interpolate(ones, size=(1, target), mode="bilinear")[0, :, 0]
    ours = torch.zeros(source, target).scatter_(0, axis.second[None], axis.weight_second[None])
    ours.scatter_(0, axis.first[None], torch.where(axis.first == axis.second, 1.0, axis.weight_first)[None])
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("size", [(30, 41), (9, 50), (150, 211)])
def test_blocks_hold_the_pixels_of_their_cells(size, monkeypatch):
    """Every pixel of chosen cells with its value, as a list of pixels has them; what is repeated is left out of it."""
    monkeypatch.setattr(cell_blocks, "PIXELS_AT_ONCE", 200)
    planes = torch.randn(4, 9, 13, generator=torch.Generator().manual_seed(size[0]))
    grid = upsampling.Upsampling.of((9, 13), size, torch.float32)
    cells = torch.randperm(9 * 13, generator=torch.Generator().manual_seed(1))
    cells = cells[grid.pixels_in().flatten()[cells] > 0][:40]
    expected = upsampling.Pixels.joined(list(grid.pixels_of(cells)))
    found, places = [], []
    for blocks in cell_blocks.blocks_of(grid, cells):
        values = blocks.values(planes.flatten(), torch.full((len(blocks),), 2 * 9 * 13)).flatten()
        pixels = blocks.pixels(torch.arange(len(values)))
        places.append(blocks.places().flatten())
        torch.testing.assert_close(pixels.values(planes[2].flatten()), values[_first_of_each(places[-1])])
        found.append(pixels)
    for own, other in zip(upsampling.Pixels.joined(found).columns(), expected.columns(), strict=True):
        assert torch.equal(own, other)
    assert set(torch.cat(places).tolist()) == set(expected.place.tolist())


def _first_of_each(places):
    """Where each place comes first, ascending."""
    seen = {}
    for number, place in enumerate(places.tolist()):
        seen.setdefault(place, number)
    return torch.tensor(sorted(seen.values()))


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_are_the_whole(threads, monkeypatch):
    """Planes upsampled in parts, and some of a stack, bit for bit as all at once, whatever way torch takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        generator = torch.Generator().manual_seed(0)
        for count in (1, 2, 3, 4, 5, 7, 8, 11, 40):
            planes = torch.randn(count, 9, 7, generator=generator)
            for size in ((20, 30), (60, 68), (60, 69), (90, 100)):
                for layout in (planes, planes[None].contiguous(memory_format=torch.channels_last)[0]):
                    whole = upsampling.resize(layout, size)
                    for chunk in (1, size[0] * size[1] * 4 * 3, 1 << 22):
                        monkeypatch.setattr(upsampling, "CHUNK_BYTES", chunk)
                        parts = [part.clone() for _, part in upsampling.resize_parts(layout, size)]
                        assert torch.equal(torch.cat(parts), whole), (count, size, chunk)
                        some = [count - 1, 0]
                        parts = [part.clone() for _, part in upsampling.resize_some(layout, some, size)]
                        assert torch.equal(torch.cat(parts), whole[some]), (count, size, chunk)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 5.0])
def test_cells_give_the_map_of_the_call(noise):
    """From settled regions to noise; whole numbers tie all along their borders."""
    for seed in range(12):
        planes = region_planes(9, 17 + seed, 23, seed=seed, noise=noise)
        for stack in (planes, planes.round(), planes.double()):
            assert torch.equal(semantic.class_map(stack, (150, 211)), by_the_call(stack, (150, 211)))


def test_numbers_that_are_next_to_nothing():
    """Multiples of the smallest float32, 1.4e-45: there values are rounded by up to a half of it, whatever their
    size."""
    for seed, smallest in ((0, 1e-44), (1, 3e-45), (2, 1e-42), (3, 1e-44)):
        planes = region_planes(9, 13, 11, seed=seed, noise=0.3) * smallest
        assert torch.equal(semantic.class_map(planes, (150, 211)), by_the_call(planes, (150, 211)))


def test_each_way_is_taken(monkeypatch):
    """Regions go by cells and decide near ties by torch's planes; noise goes by class."""
    taken = []
    for name in ("_by_class", "_decide"):
        plain = getattr(semantic, name)
        monkeypatch.setattr(semantic, name, lambda *a, plain=plain, name=name: (taken.append(name), plain(*a))[1])
    regions = region_planes(20, 32, 32, noise=0.1)
    assert torch.equal(semantic.class_map(regions, (256, 256)), by_the_call(regions, (256, 256)))
    assert "_by_class" not in taken
    assert torch.equal(semantic.class_map(regions.round(), (256, 256)), by_the_call(regions.round(), (256, 256)))
    assert "_decide" in taken and "_by_class" not in taken
    noise = torch.randn(20, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(semantic.class_map(noise, (256, 256)), by_the_call(noise, (256, 256)))
    assert "_by_class" in taken


def test_an_image_alone_is_the_image_in_its_batch():
    logits = torch.stack([region_planes(5, 16, 16, seed=seed) for seed in range(3)])
    before = logits.clone()
    sizes = [(100, 90), (64, 65), (200, 10)]
    maps = vision.semantic_maps(logits, sizes=torch.tensor(sizes))
    for index, size in enumerate(sizes):
        assert torch.equal(maps[index], vision.semantic_maps(logits[index : index + 1], sizes=[size])[0])
    assert torch.equal(logits, before)


# parity


@pytest.mark.parametrize("family", ["semantic", "semantic of queries", "semantic, Mask2Former"])
def test_transformers_gives_the_same_map(family):
    for seed in range(CASES if "Mask2Former" not in family else 10):
        CHECKS[family](seed)


# errors


def test_shapes_are_told():
    with pytest.raises(ValueError, match=r"logits must be \[B, C, h, w\]; got shape \[2, 3, 4\]"):
        vision.semantic_maps(torch.zeros(2, 3, 4))
    with pytest.raises(
        ValueError, match=r"sizes must be \(height, width\) of each of 1 images; got \[\(1, 2\), \(3, 4\)\]"
    ):
        vision.semantic_maps(torch.zeros(1, 2, 3, 4), sizes=[(1, 2), (3, 4)])
    with pytest.raises(ValueError, match=r"sizes must be at least 1; got \(0, 4\) in row 0"):
        vision.semantic_maps(torch.zeros(1, 2, 3, 4), sizes=[(0, 4)])
    with pytest.raises(ValueError, match="logits must have at least one class; got none"):
        vision.semantic_maps(torch.zeros(1, 0, 3, 4))
