"""Fused boxes against a plain loop, tiles, and detections of tiles made one."""

import pytest
import torch

from afterlogits.postprocess import vision
from tests.postprocess.vision.test_nms import draw_boxes


def plain_fusion(boxes, scores, threshold):
    """Box by box, by descending score: into the cluster it overlaps most, or a new one."""
    clusters = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i)):
        best, chosen = threshold, None
        for cluster in clusters:
            overlap = vision.pairwise_iou(boxes[i : i + 1], cluster["box"][None]).nan_to_num(0.0).item()
            if overlap > best:
                best, chosen = overlap, cluster
        if chosen is None:
            chosen = {"box": boxes[i], "weight": torch.tensor(0.0), "count": 0}
            clusters.append(chosen)
        weight = chosen["weight"] + scores[i]
        chosen["box"] = (chosen["box"] * chosen["weight"] + boxes[i] * scores[i]) / weight
        chosen["weight"], chosen["count"] = weight, chosen["count"] + 1
    return clusters


@pytest.mark.parametrize("threshold", [0.1, 0.55, 0.9])
def test_fusion_equals_the_plain_loop(threshold):
    for seed in range(1, 30):
        boxes, scores, groups = draw_boxes(seed)
        scores = scores + 0.01
        found = vision.fuse_boxes(boxes, scores, iou_threshold=threshold, groups=groups)
        for group in range(3):
            mine, own = groups == group, found.groups == group
            theirs = plain_fusion(boxes[mine], scores[mine], threshold)
            assert found.counts[own].tolist() == [cluster["count"] for cluster in theirs]
            if theirs:
                expected = torch.stack([cluster["box"] for cluster in theirs])
                torch.testing.assert_close(found.boxes[own], expected, rtol=1e-5, atol=1e-6)
                means = torch.stack([cluster["weight"] / cluster["count"] for cluster in theirs])
                torch.testing.assert_close(found.scores[own], means)


def test_a_box_of_one_pass_of_two_loses_half():
    fused = vision.fuse_boxes(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0.8]), passes=2)
    torch.testing.assert_close(fused.scores, torch.tensor([0.4]))
    empty = vision.fuse_boxes(torch.zeros(0, 4), torch.zeros(0))
    assert (empty.boxes.shape, empty.groups.shape) == ((0, 4), (0,))


def test_fused_detections_come_best_first():
    """Two boxes of label 1 of image 0 become one of score .6; label 0 and image 1 stay apart."""
    box = torch.tensor([[0.0, 0, 1, 1]]).expand(4, 4)
    labels, image = torch.tensor([1, 1, 0, 1]), torch.tensor([0, 0, 0, 1])
    found = vision.Detections(torch.tensor([0.5, 0.7, 0.9, 0.8]), labels, box, image, labels, 2)
    fused = vision.fuse(found)
    assert (fused.image.tolist(), fused.labels.tolist()) == ([0, 0, 1], [0, 1, 1])
    torch.testing.assert_close(fused.scores, torch.tensor([0.9, 0.6, 0.8]))
    assert vision.fuse(found, per_label=False).labels.tolist() == [0, 1]


def test_tiles_cover_the_image_and_are_of_one_size():
    for size, tile, overlap in (((10, 15), (10, 10), (0, 2)), ((7, 9), (3, 4), (1, 1)), ((3, 3), (5, 5), (0, 0))):
        tiles = vision.plan_tiles(size, tile, overlap=overlap)
        seen = torch.zeros(size, dtype=torch.bool)
        for left, top, right, bottom in tiles.tolist():
            seen[top:bottom, left:right] = True
            assert (bottom - top, right - left) == (min(tile[0], size[0]), min(tile[1], size[1]))
        assert seen.all()
        assert len(torch.unique(tiles, dim=0)) == len(tiles)
    with pytest.raises(ValueError, match="overlap must be at least 0 and below the tile; got 4 for 4"):
        vision.plan_tiles((8, 8), (4, 4), overlap=(4, 0))


@pytest.mark.parametrize("fusion", [False, True])
def test_what_two_tiles_show_is_one(fusion):
    """A box at 8-12 of an image, seen by tiles 0-12 and 6-18 as 8-12 and 2-6."""
    tiles = torch.tensor([[0, 0, 12, 10], [6, 0, 18, 10]])
    boxes = torch.tensor([[8.0, 1, 12, 5], [2, 1, 6, 5], [8, 6, 11, 9]])
    image = torch.tensor([0, 1, 1])
    found = vision.Detections(torch.tensor([0.6, 0.8, 0.9]), torch.zeros(3).long(), boxes, image, image, 2)
    merged = vision.merge_tiles(found, tiles, [0, 0], num_images=1, fusion=fusion)
    assert merged.boxes.round().tolist() == [[14.0, 6.0, 17.0, 9.0], [8.0, 1.0, 12.0, 5.0]]
    torch.testing.assert_close(merged.scores, torch.tensor([0.9, 0.7 if fusion else 0.8]))
    with pytest.raises(ValueError, match=r"tiles must be \[2, 4\]; got shape \[1, 4\]"):
        vision.merge_tiles(found, tiles[:1], [0], num_images=1)
