"""Masks and statistics of maps against plain comparisons."""

import math

import pytest
import torch

from afterlogits.postprocess import vision


def draw_map(seed):
    generator = torch.Generator().manual_seed(seed)
    low, high = [(0, 5), (-1, 4), (0, 300), (-40_000, 40_000)][seed % 4]
    small = torch.randint(low, high, (4, 5), generator=generator)
    drawn = small.repeat_interleave(3, 0).repeat_interleave(4, 1) if seed % 3 else small
    return drawn.float() if seed % 5 == 0 else drawn.to([torch.int64, torch.int32][seed % 2])


def test_masks_are_the_pixels_of_each_id():
    for seed in range(60):
        drawn = draw_map(seed)
        ids, masks = vision.id_masks(drawn)
        assert ids.tolist() == torch.unique(drawn).tolist()
        assert ids.dtype == torch.int64
        assert torch.equal(masks, torch.stack([(drawn == i).to(torch.uint8) * 255 for i in ids.tolist()]))


def test_masks_of_asked_ids():
    """An id that is not there has an empty mask, and the order is the asked one."""
    ids, masks = vision.id_masks(torch.tensor([[1, 0]]), ids=[7, 0])
    assert ids.tolist() == [7, 0]
    assert masks.tolist() == [[[0, 0]], [[0, 255]]]


def test_statistics_are_those_of_each_mask():
    for seed in range(40):
        drawn = draw_map(seed)
        asked = None if seed % 2 else [*torch.unique(drawn).long().tolist()[::-1], 99]
        ids, found = vision.id_statistics(drawn, asked)
        expected = vision.mask_statistics(torch.stack([drawn == i for i in ids.tolist()]))
        for name in ("area", "boxes", "centroids"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), equal_nan=True)


def test_statistics_of_one_mask():
    """Pixels (row 0, columns 1, 2), (row 1, column 1): area 3, mean column 4/3, mean row 1/3."""
    mask = torch.tensor([[[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]])
    found = vision.mask_statistics(mask)
    assert (found.area.tolist(), found.boxes.tolist()) == ([3], [[1, 0, 2, 1]])
    torch.testing.assert_close(found.centroids, torch.tensor([[4 / 3, 1 / 3]], dtype=torch.float64))
    empty = vision.mask_statistics(torch.zeros(1, 2, 2))
    assert (empty.area.tolist(), empty.boxes.tolist()) == ([0], [[0, 0, 0, 0]])
    assert math.isnan(empty.centroids[0, 0])


def test_empty_maps_and_errors():
    assert vision.map_ids(torch.zeros(0, 3)).tolist() == []
    assert vision.id_masks(torch.zeros(0, 3))[1].shape == (0, 0, 3)
    with pytest.raises(ValueError, match=r"segmentation must be \[H, W\]; got shape \[3\]"):
        vision.id_masks(torch.zeros(3))
    with pytest.raises(ValueError, match=r"masks must be \[K, H, W\]; got shape \[3\]"):
        vision.mask_statistics(torch.zeros(3))
