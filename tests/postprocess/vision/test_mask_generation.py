"""Masks of "segment everything": thresholds and edges in figures, pieces against a flood fill, and transformers."""

import pytest
import torch

from afterlogits.postprocess import vision
from tests.postprocess.vision.drawn_masks import CHECKS

CASES = 40


# golden


def test_an_empty_mask_has_no_stability():
    """-5 everywhere: 0 pixels over 0 is NaN and goes; without the test it stays, [64] and a box of zeros."""
    masks, scores = torch.full((1, 8, 8), -5.0), torch.tensor([0.9])
    assert len(vision.filter_masks(masks, scores, image_size=(8, 8)).runs) == 0
    kept = vision.filter_masks(masks, scores, image_size=(8, 8), stability_score_thresh=0.0)
    assert kept.runs.lists() == [[64]]
    assert kept.boxes.tolist() == [[0, 0, 0, 0]]


def test_boxes_include_their_last_pixels():
    masks = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]]).bool()
    assert vision.mask_boxes(masks).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_what_a_crop_cuts_off_goes():
    """A crop of columns 100-200: an object 15 pixels from its right edge is cut off, unless the image ends too."""
    masks = torch.full((1, 100, 100), -9.0)
    masks[0, 40:60, 50:85] = 9.0  # column 184 of the image, 16 from 200
    options = {"crop_box": (100, 0, 200, 100), "pred_iou_thresh": 0.0}
    assert len(vision.filter_masks(masks, torch.ones(1), image_size=(100, 400), **options).runs) == 0
    kept = vision.filter_masks(masks, torch.ones(1), image_size=(100, 200), **options)
    assert kept.boxes.tolist() == [[150, 40, 184, 59]]
    assert kept.runs.size == (100, 200)
    assert kept.runs.areas().tolist() == [20 * 35]


def test_merged_candidates_are_one_of_each():
    """Two points on one object: the better mask stays, and a box elsewhere."""
    masks = torch.full((3, 40, 40), -9.0)
    masks[0, :20, :20], masks[1, :20, :19], masks[2, 30:, 30:] = 9.0, 9.0, 9.0
    found = vision.filter_masks(masks, torch.tensor([0.9, 0.95, 0.9]), image_size=(40, 40))
    merged = vision.merge_candidates([found])
    assert merged.scores.tolist() == pytest.approx([0.95, 0.9])
    record = merged.records(runs=True, boxes=True)
    assert sorted(record) == ["bounding_boxes", "masks", "rle_mask", "scores"]
    assert [int(mask.sum()) for mask in record["masks"]] == [20 * 19, 100]
    empty = vision.merge_candidates([vision.filter_masks(masks, torch.zeros(3), image_size=(40, 40))])
    assert (empty.scores.shape, empty.boxes.shape, empty.records()["masks"]) == ((0,), (0, 4), [])


def test_only_the_best_of_a_pixel_stays():
    logits = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).repeat(1, 1, 1, 2)
    assert vision.without_overlap(logits).flatten().tolist() == [-10.0, -10.0, 2.0, 2.0]
    assert torch.equal(vision.without_overlap(logits[:1]), logits[:1])


def test_crops_with_fewer_points_in_deeper_layers():
    """Where transformers stops because the numbers differ, each crop has its own points."""
    crops = vision.plan_crops((60, 80), input_edge=64, layers=1, points_per_side=4, downscale=2)
    assert [len(points) for points in crops.points] == [16, 4, 4, 4, 4]
    assert crops.layer.tolist() == [0, 1, 1, 1, 1]


# property


def flood_fill(mask):
    """Pieces by a walk from every pixel that has none yet, row by row."""
    height, width = mask.shape
    piece, newest = torch.zeros(height, width, dtype=torch.int64), 0
    for row in range(height):
        for column in range(width):
            if not mask[row, column] or piece[row, column]:
                continue
            newest += 1
            open_pixels = [(row, column)]
            piece[row, column] = newest
            while open_pixels:
                r, c = open_pixels.pop()
                for y in range(max(r - 1, 0), min(r + 2, height)):
                    for x in range(max(c - 1, 0), min(c + 2, width)):
                        if mask[y, x] and not piece[y, x]:
                            piece[y, x] = newest
                            open_pixels.append((y, x))
    return piece


def test_pieces_are_those_of_a_flood_fill():
    generator = torch.Generator().manual_seed(0)
    for share in (0.0, 0.2, 0.4, 0.6, 1.0):
        for size in ((1, 1), (1, 9), (9, 1), (12, 15), (20, 7)):
            mask = torch.rand(size, generator=generator) < share
            assert torch.equal(vision.connected_pieces(mask), flood_fill(mask))


def test_holes_and_sprinkles_go_by_area():
    """A ring of 5 x 5 with a hole of 1, and a dot of 2 beside it."""
    mask = torch.zeros(1, 7, 12, dtype=torch.bool)
    mask[0, 1:6, 1:6] = True
    mask[0, 3, 3] = False
    mask[0, 3, 9:11] = True
    assert vision.clean_masks(mask, max_hole_area=1)[0, 3, 3]
    assert not vision.clean_masks(mask, max_hole_area=0.5)[0, 3, 3]
    assert vision.clean_masks(mask, max_sprinkle_area=2)[0].sum() == 24
    assert vision.clean_masks(mask, max_sprinkle_area=1)[0].sum() == 26
    assert torch.equal(vision.clean_masks(mask), mask)
    assert vision.clean_masks(mask[:0], max_hole_area=3).shape == (0, 7, 12)


# parity


@pytest.mark.parametrize("family", [*CHECKS])
def test_transformers_gives_the_same(family):
    for seed in range(CASES):
        CHECKS[family](seed)


# errors


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="iou_scores must be one of each of 2 masks; got 3"):
        vision.filter_masks(torch.zeros(2, 4, 4), torch.zeros(3), image_size=(4, 4))
    with pytest.raises(ValueError, match="iou_scores must be one of each of 6 masks; got 3"):
        vision.generate_masks(torch.zeros(2, 3, 4, 4), torch.zeros(3), image_size=(4, 4))
    with pytest.raises(ValueError, match="parts must hold the candidates of at least one run; got none"):
        vision.merge_candidates([])
    with pytest.raises(ValueError, match="per_side must be at least 1; got 0"):
        vision.point_grid(0)
