"""Outlines of masks: drawn back they are the mask, and their areas are its pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterlogits.postprocess.vision.polygons import mask_polygons, ring_area


def fill(polygons, height, width):
    """Every pixel by how often a ray from its middle to the right crosses a ring: odd is inside."""
    found = torch.zeros(height, width, dtype=torch.bool)
    for y in range(height):
        for x in range(width):
            crossings = 0
            for ring in (ring for polygon in polygons for ring in polygon):
                corners = ring.tolist()
                for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
                    crossings += x0 == x1 and x0 > x + 0.5 and min(y0, y1) <= y < max(y0, y1)
            found[y, x] = crossings % 2 == 1
    return found


def test_a_ring_with_a_hole_and_a_pixel_at_its_corner():
    """Outer ring of 3 x 3 with one pixel missing inside, and a pixel that touches its corner: area 9 - 1, and 1."""
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
    ring, corner = mask_polygons(mask)
    assert [each.tolist() for each in ring] == [
        [[0, 0], [3, 0], [3, 3], [0, 3]],
        [[1, 1], [1, 2], [2, 2], [2, 1]],
    ]
    assert [each.tolist() for each in corner] == [[[3, 3], [4, 3], [4, 4], [3, 4]]]
    assert [ring_area(each) for each in ring] == [9.0, -1.0]


def test_a_part_within_a_hole_is_a_polygon_of_its_own():
    mask = torch.ones(7, 7, dtype=torch.bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    outer, inner = mask_polygons(mask)
    assert (len(outer), len(inner)) == (2, 1)
    assert sum(map(ring_area, outer)) == 49 - 25
    assert inner[0].tolist() == [[3, 3], [4, 3], [4, 4], [3, 4]]


def test_an_empty_mask_has_none():
    assert mask_polygons(torch.zeros(3, 4)) == []
    assert mask_polygons(torch.zeros(0, 4)) == []


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.2, 0.5, 0.8]))
def test_the_outlines_enclose_the_mask(seed, height, width, share):
    mask = torch.from_numpy(np.random.default_rng(seed).random((height, width)) < share)
    polygons = mask_polygons(mask)
    assert torch.equal(fill(polygons, height, width), mask)
    for outer, *holes in polygons:
        assert ring_area(outer) > 0
        assert all(ring_area(hole) < 0 for hole in holes)
    assert sum(ring_area(ring) for polygon in polygons for ring in polygon) == mask.sum()


def test_a_long_outline_takes_no_walk():
    """A comb of a thousand teeth: 8 corners a pair of columns."""
    mask = torch.zeros(500, 2000, dtype=torch.bool)
    mask[0], mask[:, ::2] = True, True
    (polygon,) = mask_polygons(mask)
    assert len(polygon) == 1
    assert ring_area(polygon[0]) == mask.sum()


def test_a_mask_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"^mask must be \[H, W\]; got shape \[2\]$"):
        mask_polygons(torch.zeros(2))
